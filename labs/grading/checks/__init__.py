"""What the hidden.py of a lab is written with.

questions       Question, and Student: one submission as a check sees it
expect          compare a student's values with the right ones
own_work        the libraries that a student's function uses
held_out        images that the student has not seen
onnx_files      the content of a submitted ONNX file
records         the records of measurements that a student submitted, and what is wrong with them

Behind records:

records_file    reads a file of records within limits
record_fields   whether one record is complete, and its parts agree
plausible       signs that times were invented
"""
