#!/usr/bin/python3
"""A service manager's part: holds a listening socket, and starts the server with it again and again until SIGTERM.

  socket_holder.py SOCKET PID-FILE SERVER ARGUMENT...     the server's process id is in PID-FILE, and gone while there is none
"""
import os
import signal
import socket
import sys

stopping = False


def on_stop(*_):
    global stopping
    stopping = True


def main():
    path, pid_file, command = sys.argv[1], sys.argv[2], sys.argv[3:]
    signal.signal(signal.SIGTERM, on_stop)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(128)
    os.dup2(listener.fileno(), 3)
    os.set_inheritable(3, True)
    while not stopping:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="nbd")
            os.execv(command[0], command)
        with open(pid_file + ".new", "w") as file:
            file.write(str(child))
        os.rename(pid_file + ".new", pid_file)
        status = os.waitpid(child, 0)[1]
        os.unlink(pid_file)
        if status != 0:
            sys.exit(f"the server ended with {status}")


main()
