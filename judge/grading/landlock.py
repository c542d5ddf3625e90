"""Runs a command that may open these files only: landlock.py READABLE WRITABLE COMMAND...

READABLE and WRITABLE are paths, one a line. Landlock (Linux 5.13) takes rights away from a
process and its children without any privilege, so it works in containers that refuse
namespaces. There is no command for it, hence these three system calls.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import sys

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION = 1  # a flag: only says which version of the interface this kernel has
PATH_BENEATH = 1
NO_NEW_PRIVS = 38  # prctl()

EXECUTE, READ_FILE, READ_DIR = 1 << 0, 1 << 2, 1 << 3
READ = EXECUTE | READ_FILE | READ_DIR
OF_FILES = EXECUTE | READ_FILE | 1 << 1 | 1 << 14 | 1 << 15  # all others are about folders
# Rights on files that a version of the interface knows: the first bits, so many.
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
TCP = 0b11  # to bind and to connect, since version 4
SCOPES = 0b11  # abstract sockets and signals to others, since version 6

libc = ctypes.CDLL(None, use_errno=True)


def call(number: int, *args: object) -> int:
    result = libc.syscall(number, *args)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"landlock: {os.strerror(ctypes.get_errno())}")
    return result


def restrict(readable: list[str], writable: list[str]) -> None:
    version = call(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION)
    every = (1 << RIGHTS[min(version, max(RIGHTS))]) - 1
    attributes = struct.pack("QQQ", every, TCP, SCOPES)
    attributes = attributes[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = call(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    for paths, rights in ((readable, READ), (writable, every)):
        for path in filter(os.path.exists, paths):
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed = rights & every & (-1 if os.path.isdir(path) else OF_FILES)
            call(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("=Qi", allowed, fd), 0)
            os.close(fd)
    if libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "landlock: no_new_privs")
    call(RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


if __name__ == "__main__":
    try:
        # Looked for now: Python's own library is out of reach in a moment.
        program = shutil.which(sys.argv[3]) or sys.argv[3]
        restrict(sys.argv[1].split("\n"), sys.argv[2].split("\n"))
        os.execv(program, sys.argv[3:])
    except OSError as error:
        sys.exit(str(error))
