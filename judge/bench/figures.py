"""The figures of one run: read from what the guest prints, shown as tables, kept as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from statistics import median
from typing import Iterable, Iterator

from ..errors import CannotTest

# pattern -> what its tables are called
PATTERNS = {
    "thread": "one thread: a write, a read",
    "pair": "one process writes, one reads",
    "preempted": "the same, where who is woken may go first (the default policy)",
    "crowd": "4 processes write, 4 read",
    "round-trip": "a message there and one back",
    "poll": "one process writes, one reads, each after a poll()",
    "depth": "one thread, so many messages in the queue",
    "batch": "one thread: a batch of 32 there, a batch of 32 back",
    "memory": "memory of a queued message, in bytes",
    "wait": "the longest that a write and a read took",
    "wait-expire": "the same, while so many messages expired",
    "wait-clear": "the same, while so many messages were cleared",
}
OURS, FLOOR = "kmsgpipe", "floor"


@dataclass(frozen=True)
class Figure:
    """What a message costs in one cell; in wall mode measured several times."""

    pattern: str
    channel: str
    size: int
    depth: int
    values: tuple[float, ...]

    @property
    def row(self) -> tuple[str, int, int]:
        return self.pattern, self.size, self.depth

    @property
    def value(self) -> float:
        return median(self.values)

    @property
    def spread(self) -> float:
        """Half of the distance between the quartiles."""
        ordered = sorted(self.values)
        quarter = len(ordered) // 4
        return (ordered[-1 - quarter] - ordered[quarter]) / 2


def parse(line: str) -> Figure:
    """`figure PATTERN CHANNEL SIZE DEPTH VALUE...`"""
    word, pattern, channel, size, depth, *values = line.split()
    if word != "figure" or pattern not in PATTERNS or not values:
        raise ValueError(line)
    return Figure(pattern, channel, int(size), int(depth), tuple(map(float, values)))


def _rows(figures: Iterable[Figure]) -> dict[tuple[str, int, int], dict[str, Figure]]:
    rows: dict[tuple[str, int, int], dict[str, Figure]] = {}
    for figure in figures:
        rows.setdefault(figure.row, {})[figure.channel] = figure
    return rows


def _cell(figure: Figure | None, wall: bool) -> str:
    if not figure:
        return "-"
    spread = f" ±{figure.spread:.0f}" if wall else ""
    return f"{figure.value:.0f}{spread}"


def tables(figures: list[Figure], wall: bool) -> Iterator[str]:
    """Markdown, one table for each pattern, fit for a terminal as well."""
    rows = _rows(figures)
    for pattern, title in PATTERNS.items():
        ours = {row: cells for row, cells in rows.items() if row[0] == pattern}
        if not ours:
            continue
        channels = list(dict.fromkeys(channel for cells in ours.values() for channel in cells))
        by_depth = len({depth for _, _, depth in ours}) > 1
        lines = [["depth" if by_depth else "bytes", *channels]]
        for (_, size, depth), cells in ours.items():
            head = str(depth if by_depth else size)
            lines.append([head, *(_cell(cells.get(channel), wall) for channel in channels)])
        yield f"\n{title}\n"
        yield from _aligned(lines)


def _aligned(lines: list[list[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*lines)]
    lines = [lines[0], ["-" * (width - 1) + ":" for width in widths], *lines[1:]]
    for line in lines:
        yield "| " + " | ".join(text.rjust(width) for text, width in zip(line, widths)) + " |"


def to_json(figures: list[Figure], about: dict[str, object]) -> str:
    """No date and no machine in it: two runs of the same tree can be compared byte by byte."""
    cells = [
        {"pattern": f.pattern, "channel": f.channel, "size": f.size, "depth": f.depth,
         "values": list(f.values)}
        for f in figures
    ]  # fmt: skip
    body = ",\n".join(f"  {json.dumps(cell)}" for cell in cells)
    return json.dumps(about, indent=1)[:-2] + ',\n "figures": [\n' + body + "\n ]\n}\n"


def from_output(lines: Iterable[str]) -> Iterator[Figure]:
    """The figures among the lines of the guest's program; it has to say that it is done."""
    for line in lines:
        if line.startswith("figure "):
            yield parse(line)
        elif line == "done":
            return
        elif line.startswith("@exit"):
            raise CannotTest("the benchmark ended before it was done")
        else:
            raise CannotTest(f"the benchmark says: {line.removeprefix('error ')}")
    raise CannotTest("the benchmark says no more")
