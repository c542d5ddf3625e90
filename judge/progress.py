"""One line that is written over and over while something takes long."""

from __future__ import annotations

import shutil
import sys

MB = 1_000_000


def show(text: str) -> None:
    """Puts this text into the line, '' to clear it; nothing at all into a file."""
    if sys.stdout.isatty():
        room = shutil.get_terminal_size().columns - 1
        print(f"\r\033[K{text[:room]}", end="", flush=True)


def megabytes(size: int) -> str:
    digits = 0 if size >= 10 * MB else 1
    return f"{size / MB:.{digits}f} MB"
