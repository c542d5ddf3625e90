"""The two ways a run ends without a verdict.

Both are kept apart from "your code failed": a student who reads a message
from here has nothing to look for in their driver.
"""

from __future__ import annotations


class CannotTest(Exception):
    """No QEMU, no kernel, no disk...: nothing was judged.

    The text is for the person at the keyboard: what is missing and what to
    do about it.  The command line prints it on stderr, without a traceback.
    """

    status = 3


class UsageError(Exception):
    """The command line or a variable on it makes no sense."""

    status = 2
