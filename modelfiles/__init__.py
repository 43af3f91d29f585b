"""Read, run, write and check model files in every format of the book.

Notebooks and labs use it through helpers.convert, helpers.runtimes and helpers.profiling.

formats       read parts of a file without its runtime: protobuf, flatbuffers
runtimes      open_model(path) -> Model, one module per runtime
conversion    convert a network to a file that is opened, run and compared before it gets its name
integers      int8 networks as integers, and the output of every operator
profiling     operators and their time, per runtime

programs and child_process run other programs, within limits; errors, places and quiet are used by
all.
Nothing here imports helpers.
"""
