#!/usr/bin/python3
"""stop_thread.py TID: stops one thread of a process, as if it hung; the others run on. Prints "stopped", and lets it go when killed.

ptrace(2) of a process that is no child needs root, or a kernel that lets it (kernel.yama.ptrace_scope=0).
"""
import ctypes
import os
import signal
import sys

PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
thread = int(sys.argv[1])
for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
    if libc.ptrace(request, thread, None, None) != 0:
        sys.exit(f"ptrace: {os.strerror(ctypes.get_errno())}")
os.waitpid(thread, WALL)
print("stopped", flush=True)
signal.pause()
