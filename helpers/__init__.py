"""What notebooks and labs import, from the data to the plots.

data -> model -> converted file -> runtime -> measurement -> record -> table and plot:

data            MNIST, from wherever it is available
models          the networks of the book
training        train, evaluate, trained(name)
convert         a network to the file that each runtime reads
model_files     the files that a Pi gets
runtimes        open_model(path) -> Model
timing          warm_up, benchmark, speedup; latency and intervals hold what they return
workers         a model in a process of its own
profiling       operators and their time, per runtime
device          the measured machine: what it is, its state, its limits
validity        the one place that says whether a measurement is valid
records         what a record holds; recording makes one from a measurement
results         append records to a file, read them; ranking compares them
sustained       what a run of minutes shows
long_runs       answers of networks that take too long to train in a notebook
metrics         accuracy, McNemar's test, mAP, MACs
plots           the figures that notebooks share
paths           where files are stored; errors, quiet and student_ids are as small

pi, ssh and __main__ are deprecated names of what is in workbook/.

models, training and convert need torch. All others can be imported on a Pi without torch; they load
a runtime inside the function that needs it. The package modelfiles does the work behind convert and
runtimes.
"""
