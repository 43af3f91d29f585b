"""The workbook on a Raspberry Pi, through SSH. No other machine can reach what listens here.

commands      `workbook pi ACTION`: a function for each action, beside its help
fleet         the actions on one Pi or on many at once
setup         checks a Pi, copies what changed, sets up its environment
transfer      copies files: whole or not at all
jupyter       JupyterLab on the Pi, in the browser here
tunnel        a port of this machine that leads to the Pi
fetch         brings records and notebooks back, each record once
connection    a Pi that answers requests
openssh       hosts and options for OpenSSH, which connects with the user's own configuration
ssh_problems  what stopped ssh, as one sentence
on_device     what runs on the Pi
"""
