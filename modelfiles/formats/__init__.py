"""The encodings that model files use, read without their runtimes.

protobuf        ONNX
flatbuffer      TFLite, MNN and ExecuTorch
tflite_weights  the weights of a quantized .tflite file as floats
pte             which operators of an ExecuTorch program a delegate computes
onnx_product    writes an ONNX file with one matrix product
"""
