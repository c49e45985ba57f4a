"""Become another program, as a child that does not outlive its parent.

Run as a script by ``process.py``, with the standard library only:
``launch.py PARENT_PID SIGNAL USER REACH PROGRAM [ARGUMENT...]``. The kernel sends SIGNAL when the
parent dies, however it dies. USER (empty: unchanged) is who the program runs as. REACH ``1`` lets
that user pass folders that are closed to it, such as a home below ``/root``: PostgreSQL refuses
root, and opening other people's folders for it would be worse.
"""

import ctypes
import os
import pwd
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilitySets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        sys.exit(f"{what} is not permitted here: {os.strerror(ctypes.get_errno())}")


def _prctl(what: str, *arguments: int) -> None:
    _check(_libc().prctl(*(ctypes.c_ulong(argument) for argument in (*arguments, 0, 0))), what)


def _keep_reach() -> None:
    """Give the program to come the one capability that survived the change of user."""
    bit = 1 << _CAP_DAC_OVERRIDE
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    sets = (_CapabilitySets * 2)(_CapabilitySets(bit, bit, bit))
    _check(_libc().capset(ctypes.byref(header), ctypes.byref(sets)), "keeping CAP_DAC_OVERRIDE")
    _prctl("handing on CAP_DAC_OVERRIDE", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE)


def _become(user: str, *, reach: bool) -> None:
    entry = pwd.getpwnam(user)
    if reach:
        _prctl("keeping capabilities", _PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    if reach:
        _keep_reach()


def _main(parent: str, signal: str, user: str, reach: str, *command: str) -> None:
    if user:
        _become(user, reach=reach == "1")
    if sys.platform == "linux":
        # After the change of user, which clears it.
        _prctl("following the parent's death", _PR_SET_PDEATHSIG, int(signal))
        if os.getppid() != int(parent):
            sys.exit("the parent is gone")
    os.execv(command[0], command)  # noqa: S606 -- this is the purpose


if __name__ == "__main__":
    _main(*sys.argv[1:])
