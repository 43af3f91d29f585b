"""What the hidden.py of a lab is written with.

questions      Question, and Student: one submission as a check sees it
expect         compare a student's values with the right ones
held_out       images that the student has not seen
onnx_files     what a handed-in ONNX file holds
records_file, record_fields, plausible     the measurements that a student handed in
"""
