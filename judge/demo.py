"""Plays userland/demo/<stage>.sh in the VM and shows what a person would see.

A demo script has one line for each thing that happens:

  # TEXT     is told to the reader; adjoining ones are one paragraph
  COMMAND    is typed, and must succeed
  ! COMMAND  is typed without the `! `, and must fail
  ^C         Ctrl-C, pressed once the command before it sleeps in the device
"""

from __future__ import annotations

import shutil
import textwrap
import time
from dataclasses import dataclass

from . import lab, report
from .build import Built
from .errors import CannotTest
from .session import CTRL_C, Session, step
from .snapshot import Resuming
from .stages import TREE, Stage
from .vm import Vm, VmGone


@dataclass(frozen=True)
class Item:
    """One line of a script: told if it has no command, else typed."""

    told: str = ""
    typed: str = ""
    fails: bool = False


class DemoFailed(Exception):
    """The text is the one line that says why."""


def parse(text: str) -> list[Item]:
    items: list[Item] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if not line.startswith("#"):
            fails = line.startswith("! ")
            items.append(Item(typed=line[2:].strip() if fails else line, fails=fails))
        elif items and items[-1].told:
            items[-1] = Item(told=f"{items[-1].told} {line[1:].strip()}")
        else:
            items.append(Item(told=line[1:].strip()))
    return items


def script(stage: Stage) -> list[Item]:
    path = TREE / f"userland/demo/{stage.name}.sh"
    if not path.exists():
        raise CannotTest(f"{stage.name} has no demo: {path.relative_to(TREE)} is not there")
    return parse(path.read_text())


def width() -> int:
    return min(80, shutil.get_terminal_size().columns)


def _tell(text: str) -> None:
    print(textwrap.fill(text, width(), break_long_words=False))


def _wrong(item: Item, status: int) -> str:
    if item.typed == CTRL_C or bool(status) == item.fails:
        return ""
    if item.fails:
        return f"`{item.typed}` succeeded, and was to fail"
    return f"`{item.typed}` ended with exit status {status}"


def _play(vm: Vm, stage: Stage, items: list[Item]) -> None:
    session = Session(vm)
    typed = [item.typed for item in items if item.typed] + [None]
    following = iter(typed[1:])
    for item in items:
        if item.told:
            print()
            _tell(item.told)
            continue
        # Before it runs: if it hangs, the reader knows what does.
        print(report.colour("1", f"$ {item.typed}"), flush=True)
        try:
            done = step(session, item.typed, next(following))
        except VmGone as gone:
            said = lab.trouble(vm, stage, gone)
            raise DemoFailed(f"after `{item.typed}`: {said}") from None
        if done.output:
            print(done.output.rstrip("\n"))
        wrong = lab.trouble(vm, stage)
        if done.status is not None:
            wrong = wrong or _wrong(item, done.status)
        if wrong:
            raise DemoFailed(wrong)


def run(stage: Stage, built: Built, resuming: Resuming) -> bool:
    """Plays the stage's demo; True if all went as its script expects."""
    start = time.monotonic()
    items = script(stage)
    vm = resuming.ready()
    try:
        lab.bring(vm, stage, built)
        _play(vm, stage, items)
    except (DemoFailed, VmGone) as failed:
        print(f"\n{stage.name}: the demo fails: {failed}")
        return False
    print(f"\n{stage.name}: the demo is over ({time.monotonic() - start:.1f} s)")
    return True
