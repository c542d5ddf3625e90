"""Applies a unified diff to a text, and to nothing that merely looks like it.

patch(1) is generous: it moves hunks and ignores context until something fits, and a
wrong variant that was planted in the wrong place proves nothing. Here the old side
of a hunk has to stand in the text, whole and exactly once. Its line numbers do not
count: they change with every comment above.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HUNK = re.compile(r"^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
FILE = re.compile(r"^(?:---|\+\+\+) [ab]/(\S+)")


class PatchFailed(Exception):
    """The text says which hunk does not fit, and why."""


@dataclass(frozen=True)
class Hunk:
    old: list[str]
    new: list[str]

    @property
    def label(self) -> str:
        gone = (line for line in self.old if line not in self.new)
        return next(gone, self.old[0]).strip()


@dataclass(frozen=True)
class Patch:
    """What a diff does to one file."""

    name: str
    hunks: list[Hunk]

    def apply(self, text: str) -> str:
        lines = text.splitlines()
        for hunk in self.hunks:
            places = _places(lines, hunk.old)
            if len(places) != 1:
                found = f"fits in {len(places)} places" if places else "does not fit"
                raise PatchFailed(f"{self.name}: the change of `{hunk.label}` {found}")
            lines[places[0] : places[0] + len(hunk.old)] = hunk.new
        return "\n".join(lines) + "\n"


def _places(lines: list[str], old: list[str]) -> list[int]:
    last = len(lines) - len(old)
    return [at for at in range(last + 1) if lines[at : at + len(old)] == old]


def parse(text: str) -> Patch:
    """The diff in a text; what stands before it is not looked at."""
    lines = text.splitlines()
    names = [match[1] for match in map(FILE.match, lines) if match]
    if len(names) != 2 or names[0] != names[1]:
        raise PatchFailed("it has to change one file, as a/NAME to b/NAME")
    hunks = []
    for at, line in enumerate(lines):
        if match := HUNK.match(line):
            hunks.append(_hunk(lines[at + 1 :], int(match[1] or 1), int(match[2] or 1)))
    if not hunks:
        raise PatchFailed(f"{names[0]}: nothing is changed")
    return Patch(names[0], hunks)


def _hunk(lines: list[str], old_count: int, new_count: int) -> Hunk:
    old: list[str] = []
    new: list[str] = []
    for line in lines:
        if len(old) == old_count and len(new) == new_count:
            break
        # An editor that strips blanks at the end of lines leaves empty context lines empty.
        mark, rest = line[:1] or " ", line[1:]
        if mark not in " -+":
            break
        if mark in " -":
            old.append(rest)
        if mark in " +":
            new.append(rest)
    if (len(old), len(new)) != (old_count, new_count) or not old:
        raise PatchFailed("a hunk has not as many lines as it says")
    return Hunk(old, new)
