"""What the converters of helpers.convert share: checked inputs, and files that are tried first.

inputs checks networks, examples and calibration images. opener opens a file in a process of its
own, compare decides whether its answers are right, writing puts it in its place. The other modules
are for one form of file each.
"""
