"""What each step from lab 6's way to the capstone's has bought, measured one by one.

A patch in steps/ takes one of them back. All of them together are the way of lab 6; the
ladder begins there, and goes one step after the other, the last patch's step first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

from .. import cache, patch
from ..build import build
from ..errors import CannotTest
from ..kernel import Kernel
from ..stages import TREE, Stage
from . import figures
from .machine import INSTRUCTIONS, machine, output

STEPS = Path(__file__).with_name("steps")
CELLS = "thread/kmsgpipe/64 pair/kmsgpipe/64"


def patches() -> list[tuple[str, patch.Patch]]:
    """What each step is, and the diff that takes it back, in the order of their names."""
    found = []
    for path in sorted(STEPS.glob("*.patch")):
        text = path.read_text()
        found.append((text.partition("\n")[0], patch.parse(text)))
    return found


def variants(stage: Stage) -> Iterator[tuple[str, str]]:
    """From the way of lab 6 up to the source as it is: the last step taken, and the source."""
    steps = patches()
    text = (TREE / stage.source).read_text()
    sources = [text]
    for _, diff in steps:
        try:
            text = diff.apply(text)
        except patch.PatchFailed as failed:
            raise CannotTest(f"{STEPS.name}: {failed}") from None
        sources.append(text)
    yield "as lab 6 does it", sources.pop()
    for says, _ in reversed(steps):
        yield says, sources.pop()


def measure(stage: Stage, kernel: Kernel, source: str, number: int) -> list[figures.Figure]:
    # The same place each time: then kbuild finds what it has compiled before.
    folder = cache.root() / "ladder" / str(number)
    for name in stage.sources:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(source if name == stage.source else (TREE / name).read_text())
    built = build(stage, kernel, folder)
    return list(figures.from_output(output(machine(kernel, built, INSTRUCTIONS, CELLS))))


def climb(stage: Stage, kernel: Kernel) -> int:
    print(f"\n{stage.name}: guest instructions per message of 64 bytes, one CPU\n")
    print("| one thread | step | writer and reader | step | what is new |")
    print("| ---------: | ---: | ----------------: | ---: | :---------- |")
    before: list[float] = []
    for number, (says, source) in enumerate(variants(stage)):
        values = [figure.value for figure in measure(stage, kernel, source, number)]
        thread, pair = values
        gains = [f"{value - old:+.0f}" for value, old in zip(values, before)] or ["", ""]
        # A line for each as it comes: the whole takes minutes.
        print(f"| {thread:10.0f} | {gains[0]:>4} | {pair:17.0f} | {gains[1]:>4} | {says} |")
        before = values
    return 0
