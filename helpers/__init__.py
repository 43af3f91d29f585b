"""What notebooks and labs import, from the data to the plots.

data -> model -> converted file -> runtime -> measurement -> record -> table and plot:

data            MNIST, scenes of its digits, COCO, files with a known SHA-256
models          the networks of the book
augmentation    new variants of training images
training        train, evaluate, trained(name)
digit_detector  a detector of digits: network and training; digit_targets holds its losses
codebooks       weights as a few shared values, and files of them
convert         a network to a file for each runtime
model_files     the files that are copied to a Pi
runtimes        open_model(path) -> Model
timing          warm_up, benchmark, speedup; latency and intervals hold what they return
workers         a model in its own process
profiling       operators and their time, per runtime
bench           the race of notebook 08: who takes part, its records, winners and ties
device          the measured machine: its description, state and limits
validity        the one place that decides whether a measurement is valid
records         the fields of a record; recording makes one from a measurement
results         append records to a file, read them; ranking compares them
sustained       trends in a run of several minutes
long_runs       stored predictions of networks that take too long to train in a notebook
metrics         accuracy, McNemar's test, mAP, MACs
vision          detectors: from a picture to boxes
plots           the figures that notebooks share
interactive     in notebooks: guesses, checked answers, a digit that the reader draws
paths           where files are stored
errors, quiet, student_ids    small modules for all of them

models, augmentation, training, convert and the digit detector need torch. All other modules can be
imported on a Pi without torch: they load a runtime inside the function that needs it. The package
modelfiles implements convert, runtimes and profiling.
"""
