"""Two sources in two columns: on a terminal, and as a page for the projector.

The page is one file that loads nothing and runs nothing. What is new or gone has a sign as
well as a colour, and in a line that changed the words that did are marked.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import sys
import textwrap
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Iterator, Sequence

from . import diff
from .diff import Change, retitled
from .stages import Stage

CONTEXT = 3
TAB = 4  # columns; a kernel's 8 would leave little of half a line
NARROWEST = 80
# Two lines that have less than this in common are no version of each other.
ALIKE = 0.4
WORD = re.compile(r"\w+|\s+|.")
SIGNS = {"equal": (" ", " "), "changed": ("-", "+"), "gone": ("-", " "), "new": (" ", "+")}


@dataclass(frozen=True)
class Row:
    """A line of each side; 0 and "" where a side has none."""

    kind: str  # equal, changed, gone, new; or gap: where lines were left out
    old_number: int = 0
    old: str = ""
    new_number: int = 0
    new: str = ""


@dataclass(frozen=True)
class Pair:
    """Two versions of one file."""

    old_name: str
    new_name: str
    rows: list[Row]


def rows(old: str, new: str) -> Iterator[Row]:
    """What differs, with a few lines around it, and where in the source that is."""
    before, after = old.splitlines(), new.splitlines()
    matcher = SequenceMatcher(None, before, after, False)
    for group in matcher.get_grouped_opcodes(CONTEXT):
        at = group[0][3]
        above = (line for line in reversed(after[: at + 1]) if diff.FUNCTION_PATTERN.match(line))
        yield Row("gap", new_number=at + 1, new=next(above, ""))
        for kind, i, j, k, m in group:
            if kind == "equal":
                for step in range(j - i):
                    yield Row(
                        "equal", i + step + 1, before[i + step], k + step + 1, after[k + step]
                    )
                continue
            both = min(j - i, m - k)
            for step in range(both):
                yield Row("changed", i + step + 1, before[i + step], k + step + 1, after[k + step])
            for step in range(i + both, j):
                yield Row("gone", step + 1, before[step])
            for step in range(k + both, m):
                yield Row("new", 0, "", step + 1, after[step])


def pairs(before: Stage, stage: Stage) -> Iterator[Pair]:
    """The files of two stages, those that differ."""
    for old_name, old, new_name, new in diff.files(before, stage):
        found = list(rows(retitled(old, new) if new else old, new))
        if found:
            yield Pair(old_name, new_name, found)


# -- on a terminal ----------------------------------------------------------------------


def _cells(number: int, sign: str, text: str, width: int) -> list[str]:
    """One side of a row; a long line takes several."""
    lines = textwrap.wrap(
        text.expandtabs(TAB), width - 7, replace_whitespace=False, break_on_hyphens=False,
    ) or [""]  # fmt: skip
    first = f"{number or '':>4} {sign} "
    return [f"{first if not at else ' ' * 7}{line}".ljust(width) for at, line in enumerate(lines)]


def text(pair: Pair, width: int, coloured: bool) -> Iterator[str]:
    half = (width - 3) // 2

    def paint(code: str, cell: str) -> str:
        return f"\033[{code}m{cell}\033[0m" if coloured and cell.strip() else cell

    yield f"{pair.old_name:<{half}} | {pair.new_name}"
    for row in pair.rows:
        if row.kind == "gap":
            yield paint(diff.COLOURS["@"], f"{'-' * half}-+-{row.new[:half]}".rstrip())
            continue
        signs = SIGNS[row.kind]
        left = _cells(row.old_number, signs[0], row.old, half)
        right = _cells(row.new_number, signs[1], row.new, half)
        for at in range(max(len(left), len(right))):
            old = left[at] if at < len(left) else " " * half
            new = right[at] if at < len(right) else ""
            if row.kind != "equal":
                old, new = paint(diff.COLOURS["-"], old), paint(diff.COLOURS["+"], new)
            yield f"{old} | {new.rstrip() if not coloured else new}".rstrip()


def show(before: Stage, stage: Stage) -> None:
    width = max(NARROWEST, shutil.get_terminal_size((NARROWEST, 24)).columns)
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(f"{before.name} -> {stage.name}: {stage.title}\n")
    none = True
    for pair in pairs(before, stage):
        none = False
        print(*text(pair, width, coloured), sep="\n")
    if none:
        print("  nothing but its title")


# -- as a page --------------------------------------------------------------------------

STYLE = """
:root { --ink: #1b1b1b; --paper: #fff; --dim: #666; --line: #ddd; --old: #fde3e1; --new: #dff3e3;
  --old-word: #f3a9a3; --new-word: #92d3a1; --head: #eef2f7 }
@media (prefers-color-scheme: dark) { :root { --ink: #eee; --paper: #161616; --dim: #aaa;
  --line: #333; --old: #43211f; --new: #1c3a24; --old-word: #87332d; --new-word: #2c7a41;
  --head: #24303c } }
body { margin: 1.5em; color: var(--ink); background: var(--paper); font: 18px/1.4 sans-serif }
h1 { font-size: 1.6em } h2 { margin-top: 2em }
table.items { border-collapse: collapse } table.items td { padding: .1em 1em .1em 0 }
table.code { border-collapse: collapse; width: 100%; table-layout: fixed; tab-size: 4;
  font: 17px/1.35 monospace }
table.code td { white-space: pre-wrap; overflow-wrap: anywhere; vertical-align: top;
  padding: 0 .4em }
table.code td.n { width: 3.6em; color: var(--dim); text-align: right; user-select: none }
table.code th { text-align: left; padding: .4em; background: var(--head) }
tr.gap td { background: var(--head); color: var(--dim); padding: .2em .4em }
td.old { background: var(--old) } td.new { background: var(--new) }
td.old b { background: var(--old-word); font-weight: inherit }
td.new b { background: var(--new-word); font-weight: inherit }
@media print { body { font-size: 11px } table.code { font-size: 9px } }
"""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def _marked(old: str, new: str) -> tuple[str, str]:
    """Both lines for the page, with the words marked that only one of them has."""
    words = WORD.findall(old), WORD.findall(new)
    matcher = SequenceMatcher(None, *words, False)
    if matcher.ratio() < ALIKE:
        return html.escape(old), html.escape(new)
    sides: tuple[list[str], list[str]] = ([], [])
    for kind, i, j, k, m in matcher.get_opcodes():
        for side, of, start, end in ((sides[0], words[0], i, j), (sides[1], words[1], k, m)):
            part = html.escape("".join(of[start:end]))
            side.append(part if kind == "equal" or not part else f"<b>{part}</b>")
    return "".join(sides[0]), "".join(sides[1])


def _row(row: Row) -> str:
    if row.kind == "gap":
        return f'<tr class="gap"><td colspan="4">{html.escape(row.new) or "&nbsp;"}</td></tr>'
    changed = row.kind == "changed"
    old, new = _marked(row.old, row.new) if changed else map(html.escape, (row.old, row.new))
    signs = SIGNS[row.kind]
    cells = ((row.old_number, signs[0], old, "old"), (row.new_number, signs[1], new, "new"))
    return "<tr>" + "".join(
        f'<td class="n">{number or ""}&nbsp;{sign.strip() or "&nbsp;"}</td>'
        f'<td class="{name if sign.strip() else ""}">{code}</td>'
        for number, sign, code, name in cells
    ) + "</tr>"  # fmt: skip


def _section(before: Stage, stage: Stage) -> str:
    parts = [f"<h2>{before.name} &rarr; {stage.name}: {html.escape(stage.title)}</h2>"]
    table: Sequence[Change] = diff.compare(before, stage)[0]
    cells = ((change.kind, f"<code>{html.escape(change.name)}</code>",
              f"+{change.added}" if change.added else "",
              f"&minus;{change.removed}" if change.removed else "") for change in table)  # fmt: skip
    items = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in cells]
    parts.append('<table class="items">' + "\n".join(items) + "</table>" if items
                 else "<p>Nothing but its title.</p>")  # fmt: skip
    for pair in pairs(before, stage):
        names = "".join(f'<th colspan="2">{html.escape(name)}</th>'
                        for name in (pair.old_name, pair.new_name))  # fmt: skip
        parts.append(f'<table class="code"><colgroup><col style="width:3.6em"><col>'
                     f'<col style="width:3.6em"><col></colgroup><tr>{names}</tr>')  # fmt: skip
        parts += map(_row, pair.rows)
        parts.append("</table>")
    return "\n".join(parts)


def page(comparisons: Sequence[tuple[Stage, Stage]]) -> str:
    body = ["<h1>kmsgpipe</h1>", *(_section(*one) for one in comparisons)]
    title = ", ".join(f"{before.name} to {stage.name}" for before, stage in comparisons)
    return PAGE.format(title=f"kmsgpipe: {title}", style=STYLE, body="\n".join(body))


def write(comparisons: Sequence[tuple[Stage, Stage]], path: Path) -> None:
    path.write_text(page(comparisons), encoding="utf-8")
