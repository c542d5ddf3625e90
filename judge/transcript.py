"""Console transcripts in Markdown pages: found, compared, and written anew.

docs/writing-pages.md describes the notation for who writes pages. Nothing here runs
anything; docs.py does.
"""

from __future__ import annotations

import difflib
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from .stages import BY_NAME

FENCE = re.compile(r"^( *)(`{3,}|~{3,})[ \t]*([^`]*)$")
PROMPT = "$ "
ELISION = "..."
# attribute of a block -> whether it has a value
ATTRIBUTES = {"vm": True, "params": True, "unloaded": False, "unordered": False, "host": False}

# What differs from one run to the next, and what stands for it in a comparison.
# Keep the table in docs/writing-pages.md the same.
VARYING: tuple[tuple[str, re.Pattern[str], str], ...] = tuple(
    (what, re.compile(pattern), by)
    for what, pattern, by in (
        ("time stamps of dmesg", r"^\[ *\d+\.\d{6}\]", "[TIME]"),
        ("the process of a job", r"^(\[\d+\][+-]?) +\d+\b", r"\1 PID"),
        ("processes", r"\b(pid|PID|Pid:)([ =:]?)[ \t]*\d+\b", r"\1\2PID"),
        ("durations", r"\b\d+(\.\d+)? (ms|s|seconds)\b", "N s"),
        ("transfer rates", r"\b\d+(\.\d+)?[kKMG]?B/s", "N B/s"),
        ("major numbers", r"\bmajor \d+", "major N"),
        ("major numbers in ls -l", r"^([bc][rwx-]{9}.*?) +\d+, +(\d+) ", r"\1 N, \2 "),
        ("major numbers in /proc/devices", r"^ *\d+ (kmsgpipe\w*)$", r"N \1"),
        ("dates in ls -l", r"\b[A-Z][a-z]{2} [ \d]\d (\d\d:\d\d| \d{4})", "DATE"),
        ("sizes of modules", r"^(kmsgpipe_\w+) +\d+ ", r"\1 N "),
        ("the kernel, and how the VM is run", r"^(\w+: | *)(Linux|Debian) \d+\.\d+\S* \(.*$",
         r"\1KERNEL"),
        ("kernel releases", r"\b\d+\.\d+\.\d+(-\d+)?(-rt)?-(amd64|arm64|debug|race|base)\b", "RELEASE"),
    )
)

# Lines that come once only: with an empty cache, or with two makes at a time.
ONCE = re.compile(
    r"^(Booting a VM with|Trying whether KVM works|waiting for another make"
    r"|The saved VM cannot be used|A debug kernel is built)"
)


class PageError(Exception):
    """A page that makes no sense; the text begins with its name and line."""


@dataclass
class Step:
    """A typed line and what follows it on the page."""

    typed: str
    shown: list[str] = field(default_factory=list)


@dataclass
class Block:
    """A transcript: lines [start, end) of a page, the fences not included."""

    page: Path
    start: int
    end: int
    indent: str
    attributes: dict[str, str]
    steps: list[Step]

    @property
    def host(self) -> bool:
        return "host" in self.attributes

    @property
    def where(self) -> str:
        # Editors count lines from 1, and the fence is what one looks for.
        return f"{self.page}:{self.start}"


def _attributes(info: str, where: str) -> dict[str, str]:
    try:
        words = [word.partition("=") for word in shlex.split(info)[1:]]
    except ValueError as error:
        raise PageError(f"{where}: {error}") from None
    found = {name: value for name, _, value in words}
    for name, equals, _ in words:
        if ATTRIBUTES.get(name) != bool(equals):
            known = " ".join(f"{key}=..." if value else key for key, value in ATTRIBUTES.items())
            raise PageError(f"{where}: {name}: not an attribute of a transcript ({known})")
    if ("vm" in found) == ("host" in found):
        raise PageError(f"{where}: a transcript says where it runs: vm=lab1, or host")
    if "vm" in found and found["vm"] not in BY_NAME:
        raise PageError(f"{where}: vm={found['vm']}: no such stage ({' '.join(BY_NAME)})")
    return found


def _steps(lines: list[str], where: str) -> list[Step]:
    steps: list[Step] = []
    for line in lines:
        if line.startswith(PROMPT):
            steps.append(Step(line[len(PROMPT) :].strip()))
        elif steps:
            steps[-1].shown.append(line)
        else:
            raise PageError(f"{where}: the transcript begins with output; typed lines begin with $")
    if not steps:
        raise PageError(f"{where}: the transcript has no typed line; such lines begin with $")
    return steps


def blocks(page: Path, text: str) -> list[Block]:
    """All transcripts of a page. Other fenced blocks may show one as an example."""
    found = []
    lines = text.split("\n")
    fence = None
    for number, line in enumerate(lines):
        match = FENCE.match(line)
        if fence is None:
            if match:
                fence, start = match, number + 1
            continue
        closes = match and match[2].startswith(fence[2]) and not match[3].strip()
        if not closes:
            continue
        indent, info = fence[1], fence[3].strip()
        fence = None
        if info.split()[:1] == ["console"]:
            where = f"{page}:{start}"
            body = [row[len(indent) :] for row in lines[start:number]]
            attributes = _attributes(info, where)
            found.append(Block(page, start, number, indent, attributes, _steps(body, where)))
    if fence is not None:
        raise PageError(f"{page}:{start}: the fenced block has no end")
    return found


# -- comparing --------------------------------------------------------------------------


def lines_of(output: str) -> list[str]:
    """Output as lines, as a page can hold them."""
    return [line.rstrip() for line in output.rstrip("\n").split("\n")] if output.strip("\n") else []


def normalise(line: str) -> str:
    for _, pattern, by in VARYING:
        line = pattern.sub(by, line)
    return line.rstrip()


def _elide(actual: list[str], shown: list[str]) -> list[str]:
    """Leaves out of the output what the page leaves out by a line `...`."""
    if ELISION not in shown:
        return actual
    head = shown.index(ELISION)
    tail = len(shown) - head - 1
    if len(actual) < head + tail:
        return actual
    return [*actual[:head], ELISION, *actual[len(actual) - tail :]]


def _text(steps: list[Step], unordered: bool) -> list[str]:
    rows = []
    for step in steps:
        shown = [normalise(line) for line in step.shown]
        rows += [PROMPT + step.typed, *(sorted(shown) if unordered else shown)]
    return rows


def ran(block: Block, outputs: list[str]) -> list[Step]:
    """The block's steps with what they really printed."""
    return [
        Step(step.typed, _elide([line for line in lines_of(output) if not ONCE.match(line)], step.shown))
        for step, output in zip(block.steps, outputs)
    ]  # fmt: skip


def difference(block: Block, real: list[Step]) -> list[str]:
    """A unified diff between page and run, what varies put aside; empty if they agree."""
    unordered = "unordered" in block.attributes
    old, new = _text(block.steps, unordered), _text(real, unordered)
    return list(difflib.unified_diff(old, new, f"{block.where} says", "the run printed", lineterm=""))


def rewritten(text: str, changes: list[tuple[Block, list[Step]]]) -> str:
    """The page with the outputs of these blocks replaced, where they stand as they did."""
    lines = text.split("\n")
    now = {(block.start, block.end) for block in blocks(changes[0][0].page, text)}
    for block, real in sorted(changes, key=lambda change: -change[0].start):
        if (block.start, block.end) not in now:
            raise PageError(f"{block.where}: the page was changed meanwhile; try again")
        body = [row for step in real for row in (PROMPT + step.typed, *step.shown)]
        lines[block.start : block.end] = [(block.indent + row).rstrip() for row in body]
    return "\n".join(lines)
