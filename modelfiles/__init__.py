"""Model files in every format of the book: read them, run them, write them, check what was written.

helpers.convert, helpers.runtimes and helpers.profiling are the entrance for notebooks and labs.

formats       what a file says about itself, without its runtime: protobuf, flatbuffers
runtimes      open_model(path) -> Model, one module per runtime
conversion    from a network to a file that was opened, run and compared before it gets its name
profiling     operators and their time, per runtime

programs and child_process run other programs; errors, places and quiet serve all of them.
Nothing here imports helpers.
"""
