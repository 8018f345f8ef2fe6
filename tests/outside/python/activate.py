"""Starts a program with listening sockets, as systemd does: `activate.py PLACE... -- PROGRAM ARGUMENTS...`.

A place is a port of 127.0.0.1, or a path. See sd_listen_fds(3).
"""

import fcntl
import os
import socket
import sys

FIRST = 3

line = sys.argv[1:]
places, program = line[: line.index("--")], line[line.index("--") + 1 :]


def listen(place):
    if place.isdigit():
        return socket.create_server(("127.0.0.1", int(place)))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place)
    listener.listen()
    return listener


# Out of the way first, since any may have a number that another is to get.
listeners = [fcntl.fcntl(listen(place).detach(), fcntl.F_DUPFD_CLOEXEC, FIRST + len(places)) for place in places]
for number, listener in enumerate(listeners, start=FIRST):
    os.dup2(listener, number)
os.environ["LISTEN_FDS"] = str(len(places))
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(program[0], program)
