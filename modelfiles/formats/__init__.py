"""What a model file says about itself: the two encodings that its format is built on."""
