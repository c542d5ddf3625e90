"""Memory that tests have lost, as the test program tells it at its end.

The kernel tells of such memory when it is asked only (kmemleak), and asking takes seconds;
see userland/tests/leaks.c. So the news come after all verdicts, with the test's name.
"""

from __future__ import annotations

import re
from typing import Iterator

LOOKING = re.compile(r"^# leaks (\d+(?:\.\d+)?)$")
LEAK = re.compile(r"^# leak (\S+)$")
TEXT = "# | "
SECTIONS = re.compile(r"^# text((?: \.[\w.]+=0x[0-9a-f]+)*)$")


class Leaks:
    """Collects lines of the test program that are about leaks."""

    def __init__(self) -> None:
        self._found: list[tuple[str, list[str]]] = []

    def take(self, line: str) -> bool:
        """True if the line is one of these."""
        if match := LEAK.match(line):
            self._found.append((match[1], []))
        elif line.startswith(TEXT) and self._found:
            self._found[-1][1].append(line[len(TEXT) :])
        else:
            return False
        return True

    def by_test(self) -> Iterator[tuple[str, list[str]]]:
        """Each test that has lost memory, once, with the text about all of that."""
        names = dict.fromkeys(name for name, _ in self._found)
        for name in names:
            yield name, [line for other, lines in self._found if other == name for line in lines]


def sections(line: str) -> dict[str, int] | None:
    """Where the module was loaded to, if the line says that: section -> address."""
    match = SECTIONS.match(line)
    if not match:
        return None
    pairs = (word.split("=") for word in match[1].split())
    return {name: int(address, 16) for name, address in pairs}
