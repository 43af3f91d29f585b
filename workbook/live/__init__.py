"""`workbook live`: what a network sees in a camera's picture, on a page for this machine alone.

command    `workbook live [HOST]`: the options, and the order of events
networks   a detector or a classifier as a step: picture in, picture with labels out
defaults   the network that is used if none is named
pipeline   the loop from a frame to a JPEG, and the newest JPEG for those who wait
session    start and stop; the figures
heat       the rate beside temperature, clock and throttling, over minutes
server     the page's server, on 127.0.0.1 alone
handler    its answers: who may ask, one picture at a time
remote     the same on a Pi, through the tunnel
view       the same in a notebook

A frame is shown and forgotten: nothing is stored.
"""
