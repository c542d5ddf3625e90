"""Numbers that the user gives in a variable: make lab3 soak N=50."""

from __future__ import annotations

import os

from .errors import UsageError


def number(name: str, what: str, most: int, default: int) -> int:
    """What NAME= says, 1 to most; UsageError says what the number is of."""
    text = os.environ.get(name, "") or str(default)
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) <= most:
        raise UsageError(f"{name}={text}: say {what}, 1 to {most}")
    return int(text)
