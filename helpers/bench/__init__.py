"""The plumbing of notebook 08: who races, the race and its records, what they show.

entrants    files and settings that take part: half precision, Arm NN, the file of notebook 07
race        Race: measure in turns, store a record of each measurement, read them back
standings   winners, ties, ratios
"""
