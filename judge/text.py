"""Bytes of a guest as text that is safe to show.

A module can print what it likes, and a terminal obeys escape sequences: "cursor up,
ok" would repaint a verdict. So whatever comes out of a VM goes through here, except
for a person's own shell.
"""

from __future__ import annotations

import re

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(data: bytes) -> str:
    """Tabs and line feeds stay; other control characters become visible."""
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    return CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
