"""What a stage changes against the one before: by item, then line by line.

What every stage changes is no lesson and is left out: its number and title in the
comment at the top, and MODULE_DESCRIPTION. A module's name in the code does count: it can
be a function's name too (kmsgpipe_ioctl), and KBUILD_MODNAME makes it needless.

Items are told apart by the kernel's style, not by a C parser: what belongs to the top
level begins in the first column, and a body ends with a brace in the first column. Where
a source keeps to another style, neighbours may be shown as one item; no line is lost.
An item that only moves is no change; the lines below the table show it.
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
from typing import Iterator, Sequence

from .stages import Stage, shown

TOP = "the comment at the top"
INCLUDES = "#include"

# What an item is called, by the text it begins with; the first that matches.
NAMES = (
    (re.compile(r"#include\b"), INCLUDES),
    (re.compile(r"#define (\w+)"), r"\1"),
    (re.compile(r"(?:module_param|MODULE_PARM_DESC)\((\w+)"), r"parameter \1"),
    (re.compile(r"DEVICE_ATTR_(?:RW|RO|WO)\((\w+)\)|static DEVICE_ATTR_\w+\((\w+)\)"),
     r"attribute \1\2"),
    (re.compile(r"(struct|enum|union) (\w+) \{"), r"\1 \2"),
    (re.compile(r"[^=;(]*?\b(\w+)(?:\[\w*\])? = "), r"\1"),
    (re.compile(r"(?:[\w*]+[ \n]+)*?\**(\w+)\((?=[^;]*\{)", re.S), r"\1()"),
    (re.compile(r"(\w+\(\w+\));"), r"\1"),
    (re.compile(r"[^=;(]*?\b(\w+)(?:\[\w*\])?;"), r"\1"),
)  # fmt: skip
# What names the stage itself.
TITLES = (
    re.compile(r"^ \* kmsgpipe(?:, lab \d+)?: .*$", re.M),
    re.compile(r"^MODULE_DESCRIPTION\(.*?\);$", re.M | re.S),
)
# A comment that ends its line, behind code.
REMARK = re.compile(r"\s*/\*(?:(?!\*/).)*\*/$")
# Where a hunk lies, for `diff -F` too: as `diff -p` has it, but for labels of goto.
FUNCTION = "^[[:alpha:]_].*[^:]$"
FUNCTION_PATTERN = re.compile(FUNCTION.replace("[:alpha:]", "a-zA-Z"))
HUNK = re.compile(r"@@ -(\d+)")
FUNCTION_WIDTH = 40  # as GNU diff cuts it
NOTHING = Path("/dev/null")
KINDS = ("new", "changed", "gone")  # in the order of the table
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


def retitled(old: str, new: str) -> str:
    """The old source under the new one's titles, so that they are no difference."""
    for pattern in TITLES:
        title = pattern.search(new)
        if title:
            old = pattern.sub(lambda _: title[0], old, count=1)
    return old


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
            in_comment = "*/" not in line and not line.startswith("//")
            if not (found or in_comment or line.startswith("//")):
                close()  # the first comment is about the file, whatever follows it
            continue
        if not line.strip() and not code:  # a comment that belongs to no item
            close()
            continue
        bare = REMARK.sub("", line.rstrip())
        code.append(bare)
        is_directive = code[0].startswith("#")
        if bare.endswith("{") and not is_directive:
            in_body = True
        ends_body = in_body and bare.startswith("}")
        ends_line = not in_body and (
            not bare.endswith("\\") if is_directive
            else bare.endswith(";") or ("{" in bare and bare.endswith("}"))
        )  # fmt: skip
        if ends_body or ends_line:
            in_body = False
            close()
    close()
    return found


def _counts(old: list[str], new: list[str]) -> tuple[int, int]:
    added = removed = 0
    # Not ndiff(): it looks for likeness within lines too, which takes seconds per function.
    for kind, i, j, k, m in difflib.SequenceMatcher(None, old, new, False).get_opcodes():
        if kind != "equal":
            added, removed = added + m - k, removed + j - i
    return added, removed


def changes(old: str, new: str) -> list[Change]:
    """What became of each item, in the order of the new source; what is gone comes last."""
    before, after = items(retitled(old, new)), items(new)
    found = []
    for name, lines in after.items():
        if name not in before:
            found.append(Change("new", name, len(lines), 0))
        elif lines != before[name]:
            found.append(Change("changed", name, *_counts(before[name], lines)))
    found += [Change("gone", name, 0, len(before[name])) for name in before if name not in after]
    return sorted(found, key=lambda change: KINDS.index(change.kind))


def _by_tool(old: str, new: str, names: Sequence[str]) -> list[str] | None:
    """What diff(1) says; None if it is not here, or not one that can do this."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / "old.c", Path(folder) / "new.c"]
        for path, text in zip(paths, (old, new)):
            path.write_text(text, encoding="utf-8")
        labels = [f"--label={name}" for name in names]
        command = ["diff", "-u", f"--show-function-line={FUNCTION}", *labels, *map(str, paths)]
        try:
            done = subprocess.run(command, capture_output=True, encoding="utf-8")
        except OSError:
            return None
    return done.stdout.splitlines() if done.returncode in (0, 1) else None


def _by_difflib(old: str, new: str, names: Sequence[str]) -> list[str]:
    """Much the same; its hunks are sometimes a few lines longer."""
    before = old.splitlines()
    lines = list(difflib.unified_diff(before, new.splitlines(), *names, lineterm=""))
    for at, line in enumerate(lines):
        hunk = HUNK.match(line)
        above = before[: max(int(hunk[1]) - 1, 0)] if hunk else []
        function = next(filter(FUNCTION_PATTERN.match, reversed(above)), "")
        lines[at] = f"{line} {function[:FUNCTION_WIDTH]}".rstrip() if function else line
    return lines


def unified(old: str, new: str, old_name: str, new_name: str) -> list[str]:
    """As diff -up shows it: with the function in which each hunk lies."""
    names, old = (old_name, new_name), retitled(old, new)
    lines = _by_tool(old, new, names)
    return _by_difflib(old, new, names) if lines is None else lines


def _colour(line: str) -> str:
    code = COLOURS.get(line[:1])
    return f"\033[{code}m{line}\033[0m" if code else line


def read(path: Path) -> str:
    """A source; "" if it is not there."""
    try:
        # Whatever a student's editor has put in there is to be shown, not to fail here.
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _headers(before: Stage, stage: Stage) -> Iterator[tuple[Path, Path]]:
    """The stages' own headers by pairs of paths; where one has no such header, /dev/null."""
    for name in dict.fromkeys((*before.headers, *stage.headers)):
        pair = [one.tree / one.folder / name for one in (before, stage)]
        if any(path.exists() for path in pair):
            yield tuple(path if path.exists() else NOTHING for path in pair)


def _header_change(old: str, new: str, name: str) -> list[Change]:
    """A header is one item: macros upon macros are beyond items()."""
    added, removed = _counts(old.splitlines(), new.splitlines())
    kind = "new" if not old else "changed" if new else "gone"
    return [Change(kind, name, added, removed)] if added or removed else []


def files(before: Stage, stage: Stage) -> Iterator[tuple[str, str, str, str]]:
    """Both stages' files: name and text of the old one, and of the new one."""
    yield before.shown, read(before.path), stage.shown, read(stage.path)
    for old, new in _headers(before, stage):
        yield shown(old), read(old), shown(new), read(new)


def compare(before: Stage, stage: Stage) -> tuple[list[Change], list[str]]:
    """Both views of one stage: the table, and the lines."""
    old, new = read(before.path), read(stage.path)
    table = changes(old, new)
    lines = unified(old, new, before.shown, stage.shown)
    for paths in _headers(before, stage):
        old, new = map(read, paths)
        table += _header_change(old, new, paths[paths[1] != NOTHING].name)
        lines += unified(old, new, *map(shown, paths))
    return sorted(table, key=lambda change: KINDS.index(change.kind)), lines


def show(stage: Stage, before: Stage | None = None) -> None:
    """Prints both views of one stage."""
    before = before or stage.before
    if not before:
        print(f"{stage.name}: the first stage, there is nothing before it to compare with")
        return
    table, lines = compare(before, stage)
    print(f"{before.name} -> {stage.name}: {stage.title}\n")
    for change in table:
        print(change)
    if not lines:
        print("  nothing but its title")
        return
    print()
    show_lines(lines)


def show_lines(lines: Sequence[str]) -> None:
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for line in lines:
        print(_colour(line) if coloured else line)
