"""What a stage changes against the one before: by item, then line by line.

What every stage changes is no lesson and is left out: its number and title in the
comment at the top, and MODULE_DESCRIPTION.

Items are told apart by the kernel's style, not by a C parser: what belongs to the top
level begins in the first column, and a body ends with a brace in the first column.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .stages import TREE, Stage

TOP = "the comment at the top"
INCLUDES = "#include"

# What an item is called, by the text it begins with; the first that matches.
NAMES = (
    (re.compile(r"#include\b"), INCLUDES),
    (re.compile(r"#define (\w+)"), r"\1"),
    (re.compile(r"(?:module_param|MODULE_PARM_DESC)\((\w+)"), r"parameter \1"),
    (re.compile(r"DEVICE_ATTR_(?:RW|RO|WO)\((\w+)\)|static DEVICE_ATTR_\w+\((\w+)\)"),
     r"attribute \1\2"),
    (re.compile(r"(?:struct|enum|union) (\w+) \{"), r"struct \1"),
    (re.compile(r"[^=;(]*?\b(\w+)(?:\[\w*\])? = "), r"\1"),
    (re.compile(r"(?:[\w*]+[ \n]+)*?\**(\w+)\((?=[^;]*\{)", re.S), r"\1()"),
    (re.compile(r"(\w+\(\w+\));"), r"\1"),
    (re.compile(r"[^=;(]*?\b(\w+)(?:\[\w*\])?;"), r"\1"),
)  # fmt: skip
SAME_IN_ALL = (
    (re.compile(r"^( \* kmsgpipe(?:, lab \d+)?: ).*$", re.M), " * kmsgpipe: ..."),
    (re.compile(r'^MODULE_DESCRIPTION\(".*"\);$', re.M), 'MODULE_DESCRIPTION("...");'),
)
COLOURS = {"+": "32", "-": "31", "@": "36"}


@dataclass(frozen=True)
class Change:
    """One item of the source: new, changed or gone, and by how many lines."""

    kind: str
    name: str
    added: int
    removed: int

    def __str__(self) -> str:
        lines = " ".join(
            f"{sign}{count}" for sign, count in (("+", self.added), ("-", self.removed)) if count
        )
        return f"  {self.kind:<8} {self.name:<40} {lines}"


def plain(text: str) -> str:
    """The source without what differs between all stages."""
    for pattern, instead in SAME_IN_ALL:
        text = pattern.sub(instead, text, count=1)
    return text


def _name(code: str, number: int) -> str:
    for pattern, name in NAMES:
        match = pattern.match(code)
        if match:
            return match.expand(name) if "\\" not in name else _expand(match, name)
    return code.split("\n", 1)[0] or f"comment {number}"


def _expand(match: re.Match, name: str) -> str:
    """As match.expand(), but a group that is not there is nothing."""
    return re.sub(r"\\(\d)", lambda found: match[int(found[1])] or "", name)


def items(text: str) -> dict[str, list[str]]:
    """The source's top-level items by name, each with the comment above it."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []  # of the present item
    code: list[str] = []  # the same without its comment
    in_comment = in_body = False

    def close() -> None:
        nonlocal lines, code
        if any(line.strip() for line in lines):
            name = _name("\n".join(code), len(found)) if code else TOP
            found.setdefault(name, []).extend(lines)
        lines, code = [], []

    for line in text.splitlines():
        if not lines and not line.strip():
            continue
        lines.append(line)
        if in_comment or line.startswith(("/*", "//")):
            in_comment = not line.rstrip().endswith("*/") and not line.startswith("//")
            if not (found or in_comment or line.startswith("//")):
                close()  # the first comment is about the file, whatever follows it
            continue
        if not line.strip() and not code:  # a comment that belongs to no item
            close()
            continue
        code.append(line)
        if line.endswith("{") or line == "{":
            in_body = True
        ends_body = in_body and line.startswith("}")
        ends_line = not in_body and (
            line.endswith(";") or (line.startswith("#") and not line.endswith("\\"))
        )
        if ends_body or ends_line:
            in_body = False
            close()
    close()
    return found


def _counts(old: list[str], new: list[str]) -> tuple[int, int]:
    added = removed = 0
    for line in difflib.ndiff(old, new):
        added += line.startswith("+ ")
        removed += line.startswith("- ")
    return added, removed


def changes(old: str, new: str) -> list[Change]:
    """What became of each item, in the order of the new source; what is gone comes last."""
    before, after = items(plain(old)), items(plain(new))
    found = []
    for name, lines in after.items():
        if name not in before:
            found.append(Change("new", name, len(lines), 0))
        elif lines != before[name]:
            found.append(Change("changed", name, *_counts(before[name], lines)))
    found += [Change("gone", name, 0, len(before[name])) for name in before if name not in after]
    order = ("new", "changed", "gone")
    return sorted(found, key=lambda change: order.index(change.kind))


def unified(old: str, new: str, old_name: str, new_name: str) -> list[str]:
    """As diff -up shows it: with the function in which each hunk lies."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / "old.c", Path(folder) / "new.c"]
        for path, text in zip(paths, (old, new)):
            path.write_text(plain(text))
        command = ["diff", "-up", f"--label={old_name}", f"--label={new_name}", *map(str, paths)]
        done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.splitlines()


def _colour(line: str) -> str:
    code = COLOURS.get(line[:1])
    return f"\033[{code}m{line}\033[0m" if code else line


def show(stage: Stage) -> None:
    """Prints both views of one stage."""
    before = stage.before
    if not before:
        print(f"{stage.name}: the first stage, there is nothing before it to compare with")
        return
    old, new = ((TREE / one.source).read_text() for one in (before, stage))
    print(f"{before.name} -> {stage.name}: {stage.title}\n")
    for change in changes(old, new):
        print(change)
    print()
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for line in unified(old, new, before.source, stage.source):
        print(_colour(line) if coloured else line)
