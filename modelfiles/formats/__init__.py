"""The encodings that model files use, read without their runtimes.

protobuf        ONNX
flatbuffer      TFLite and MNN
onnx_product    writes an ONNX file with one matrix product
"""
