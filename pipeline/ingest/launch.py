"""Become another program, which ends with its parent and has bounds.

Run as a script, with the standard library only: ``launch.py PARENT_PID FILE_BYTES MEMORY_BYTES
PROGRAM [ARGUMENT...]``. However the parent dies, the kernel kills the program: its connection
breaks, so that a publisher comes back to the next listener, and nobody holds the port.
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _bound(what: int, limit: int) -> None:
    _, hard = resource.getrlimit(what)
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(what, (limit, limit))


def _main(parent: str, file_bytes: str, memory_bytes: str, *command: str) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the parent is gone")
    _bound(resource.RLIMIT_CORE, 0)
    _bound(resource.RLIMIT_FSIZE, int(file_bytes))
    _bound(resource.RLIMIT_AS, int(memory_bytes))
    os.execv(command[0], command)  # noqa: S606 -- this is the purpose


if __name__ == "__main__":
    _main(*sys.argv[1:])
