"""The converters of helpers.convert. Each file is opened, run and compared before it is kept.

converters      to_onnx, to_tflite and the others: one function per runtime
variants        the converter and the source of each file
inputs          checks networks, examples and calibration images
writing         moves a file to its path after it passed the checks
opener          opens and runs a file in a separate process
compare         decides whether a file's outputs are correct
culprit         names the layer that cannot be converted
int8_forms      int8 converters; batch_norms, tflite_int8, mnn_process and lowering are their parts
half_form       ONNX with float16 weights
tflite_biases   a bias of zeros where a .tflite file has none
first_wrong     the first layer whose outputs are wrong in a file
onnx_source     an ONNX file as the source of another file
onnx_layers     the layers of an ONNX file, and int8 for any of them; onnx_grids writes it
tracing         traces a network, or rejects one that decides by values
ncnn_form       runs pnnx to write ncnn's pair of files
tensorflow_form  TensorFlow's models to TFLite, in tensorflow_process
"""
