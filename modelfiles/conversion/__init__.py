"""What the converters of helpers.convert share: checked inputs, and files that are tried first.

converters      to_onnx, to_tflite and the others: one function per runtime
variants        which of them makes which file, and from what
inputs          checks networks, examples and calibration images
writing         puts a file in its place once it was tried
opener          opens and runs a file in a process of its own
compare         decides whether a file's answers are right
culprit         names the layer that stopped a conversion
int8_forms      int8 in every form; batch_norms, tflite_int8, mnn_process and lowering serve it
onnx_source     an ONNX file as the source of another
ncnn_form       what pnnx needs, to write ncnn's pair of files
"""
