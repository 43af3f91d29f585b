"""What a model file says about itself: the two encodings that its format is built on.

protobuf        ONNX
flatbuffer      TFLite and MNN
onnx_product    a file with one matrix product
"""
