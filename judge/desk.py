"""The student's desk: work/<folder of the stage>/, and which source a verb acts on.

work/ has the same places as the repository, so a stage of the student's is the same stage
below another tree: desk.stage() finds out which one is meant, and all else goes by that.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Sequence

from . import cache, diff, record
from .errors import CannotTest, UsageError
from .stages import STAGES, TREE, Stage, shown

# What lab 1 begins with: a module that loads, logs and does nothing.
FIRST = TREE / "judge/start/kmsgpipe_basic.c"
# Where a module may be named other than by an identifier: comments and strings.
PROSE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)


def place() -> Path:
    """work/, or where KMSGPIPE_WORK says; it need not be there."""
    own = os.environ.get("KMSGPIPE_WORK")
    return Path(os.path.abspath(own)) if own else TREE / "work"


def own(stage: Stage) -> Stage:
    """The student's copy of this stage, whether it is there or not."""
    return replace(stage, tree=place())


def stage(stage: Stage) -> Stage:
    """The stage that a verb acts on: the student's if there is one, else the reference."""
    mine = own(stage)
    if os.environ.get("REF") == "1" or not (mine.tree / mine.folder).is_dir():
        return stage
    if not mine.path.is_file():
        raise UsageError(
            f"{mine.shown} is not there, but its folder is; put the file back, type "
            f"`make {mine.name} start FORCE=1` to begin anew, or add REF=1 for the reference"
        )
    return mine


def announcement(stages: Sequence[Stage]) -> str:
    """The line that says which of them are the student's; '' if none is."""
    mine = [stage for stage in stages if stage.own]
    if not mine:
        return ""
    names = [shown(stage.tree / stage.folder) for stage in mine]
    if len(names) > 1:
        names = [f"{shown(place())}/ for {' '.join(stage.name for stage in mine)}"]
    return f"yours: {names[0]} (REF=1: the reference)"


def need_own(stage: Stage) -> Stage:
    """The student's copy, which has to be there."""
    mine = own(stage)
    if not mine.path.is_file():
        raise UsageError(f"you have not begun {stage.name}: make {stage.name} start")
    return mine


# -- start ------------------------------------------------------------------------------


def renamed(text: str, before: Stage, new: Stage) -> str:
    """The source of one stage under the titles and the names of the next one.

    The new titles come from the reference: they name the lesson, not its solution.
    """
    text = diff.retitled(text, diff.read(replace(new, tree=TREE).path))
    file, module = Path(before.source).stem, before.module
    # A word before ( is a function of that name: kmsgpipe_wait() in lab 3.
    changes = (
        (rf"\b{file}\.c\b", f"{Path(new.source).stem}.c"),
        (rf"\b(?:{file}|{module})\b(?!\s*\(|\.c\b)", new.module),
    )

    def in_prose(match: re.Match) -> str:
        words = match[0]
        for pattern, name in changes:
            words = re.sub(pattern, name, words)
        return words

    return PROSE.sub(in_prose, text)


def _origin(stage: Stage) -> tuple[Stage | None, str]:
    """From which stage the new one begins, and that in words."""
    before = stage.before
    if not before:
        return None, "a module that loads, logs, and does nothing yet"
    mine = own(before)
    if not mine.path.is_file():
        return before, f"the reference {before.name}, as you have none of your own"
    why = record.why_not_passed(mine)
    if not why:
        return mine, f"your own {before.name}, which passes"
    return before, (
        f"the reference {before.name}, as {why}.\n          To go on from your own: "
        f"make {before.name} test, then make {stage.name} start FORCE=1"
    )


def _files(stage: Stage, origin: Stage | None) -> dict[str, str]:
    """The new files by name: the source, and headers that the stage before has, too."""
    if not origin:
        return {Path(stage.source).name: diff.read(FIRST)}
    files = {Path(stage.source).name: renamed(diff.read(origin.path), origin, stage)}
    for name in origin.headers:
        if (origin.tree / origin.folder / name).is_file():
            files[name] = diff.read(origin.tree / origin.folder / name)
    return files


def start(stage: Stage) -> int:
    mine = own(stage)
    folder = mine.tree / mine.folder
    if folder.exists() and os.environ.get("FORCE") != "1":
        raise UsageError(
            f"{shown(folder)} is there already, nothing was changed; "
            f"`make {stage.name} start FORCE=1` begins anew and keeps it beside the new one"
        )
    origin, words = _origin(stage)
    try:
        mine.tree.mkdir(parents=True, exist_ok=True)
        kept = _lay_out(folder, _files(stage, origin))
    except OSError as error:
        if error.errno in cache.NO_SPACE:
            raise CannotTest(f"the disk is full: {shown(folder)} was not made") from None
        raise UsageError(f"{shown(folder)} cannot be made: {error.strerror}") from None
    if kept:
        print(f"kept:     {shown(kept)}/")
    print(f"new:      {mine.shown}")
    print(f"from:     {words}")
    print(f"to do:    {stage.page}, then: make {stage.name} test")
    return 0


def _lay_out(folder: Path, files: dict[str, str]) -> Path | None:
    """Makes the folder, all of it or nothing; where the one that was there is now."""
    new = Path(tempfile.mkdtemp(prefix=".start-", dir=folder.parent))
    try:
        new.chmod(0o755)
        for name, text in files.items():
            (new / name).write_text(text, encoding="utf-8")
        kept = _free_name(folder) if folder.exists() else None
        if kept:
            folder.rename(kept)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return kept


def _free_name(folder: Path) -> Path:
    number = 1
    while (name := folder.with_name(f"{folder.name}.old{number}")).exists():
        number += 1
    return name


# -- solution ---------------------------------------------------------------------------


def solution(stage: Stage) -> int:
    """The reference as a diff against the student's."""
    mine = need_own(stage)
    record.note_solution(mine)
    reference = replace(stage, tree=TREE)
    lines = diff.unified(diff.read(mine.path), diff.read(reference.path),
                         mine.shown, reference.shown)  # fmt: skip
    for name in stage.headers:
        theirs, ours = (one.tree / one.folder / name for one in (mine, reference))
        lines += diff.unified(diff.read(theirs), diff.read(ours), shown(theirs), shown(ours))
    if not lines:
        print(f"{stage.name}: yours is the reference, line by line")
        return 0
    print(f"{stage.name}: from yours (-) to the reference (+). It is one solution of many;\n"
          f"what counts is what make {stage.name} test says.\n")  # fmt: skip
    diff.show_lines(lines)
    return 0


def next_stage(stage: Stage) -> Stage | None:
    return STAGES[stage.number] if stage.number < len(STAGES) else None
