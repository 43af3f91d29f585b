"""`workbook evaluate MODEL DATA`: one model in several runtimes, checked and raced.

command            what happens in which order
options            the command's options
runtimes           the names of the runtimes, and their files
examples           reads DATA: an .npz file, or a folder
pictures           a folder of images by class, or MNIST's IDX files
coco_folder        photographs with boxes in COCO's format
detection          inputs of a detector, and its average precision
material           MODEL and DATA together, as the options describe them
source             reads MODEL: a model file, a PyTorch class with its weights, TensorFlow's
network            PyTorch classes and .pt2 files
named              networks known by name, in place of MODEL
tensorflow_source  what TensorFlow's models become
opening            opens model files in processes with limits
candidates         the files that are raced
conversions        writes these files; what fails becomes a row with the reason
isolated           calls a function in a child process, which may crash
remedies           what to do about a file that cannot be converted
verdicts           three states: works, answers wrong, cannot be converted
reuse              the files of earlier commands, if nothing has changed; kept has the notes
quality            accuracy or error of a file's answers
race               starts all candidates and times them in turns
starting           starts the processes of a race
measured           the record of a measured file
watched            a worker whose memory is read between rounds
operators          what a runtime delegates, and its share of time in int8
pieces             a race in several pieces, each with fresh processes
interleaved        the rounds of a race, which survive Ctrl-C
progress           lines on standard error
other_timers       the timers of the runtimes' authors, next to ours
published          latencies that others have published
rows               the table: a row for each candidate
columns            what is shown of a row
output             text, JSON and CSV; page, picture and bars make the HTML page
show               prints what a command found
pareto             the rows that no other one beats
budget             which file meets limits of time, size and quality
plan               what would run, how long, and whether it fits into memory
tune               searches settings by halving, and measures the best one again
settings           what is searched: threads, cores, options of the runtimes
tuning             tunes every file of a command
hosts              the same on Raspberry Pis; on_host runs there
"""
