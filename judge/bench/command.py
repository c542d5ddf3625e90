"""make bench: what a message costs, through the capstone and through the kernel's own channels."""

from __future__ import annotations

import os
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Sequence

from .. import accel, cache, progress
from ..build import Built
from ..errors import CannotTest, UsageError
from ..kernel import Kernel
from ..stages import Stage
from ..vm import VmGone
from . import figures, ladder, plot
from .figures import Figure
from .machine import INSTRUCTIONS, WALL, machine, output

SAYS = {
    INSTRUCTIONS: "guest instructions per message, one CPU",
    WALL: "nanoseconds per message, two CPUs: median ± half of the distance of the quartiles",
}
VERBOSE = os.environ.get("V") == "1"
CELL = re.compile(r"[a-z-]+(/[a-z-]+(/\d+)?)?")


def modes() -> list[str]:
    said = os.environ.get("MODE", "")
    if said and said not in SAYS:
        raise UsageError(f"MODE={said}: say {' or '.join(SAYS)}; without it both are measured")
    return [said] if said else list(SAYS)


def cells() -> str:
    said = os.environ.get("CELLS", "").replace(",", " ").split()
    for cell in said:
        pattern = cell.partition("/")[0]
        if not CELL.fullmatch(cell) or pattern not in figures.PATTERNS:
            raise UsageError(
                f"CELLS={cell}: say such as thread, pair/pipe, thread/kmsgpipe/64; "
                f"patterns are {' '.join(figures.PATTERNS)}"
            )
    return " ".join(said)


def folder() -> Path:
    path = Path(os.environ.get("OUT") or cache.root() / "bench")
    path.mkdir(parents=True, exist_ok=True)
    return path


def measure(kernel: Kernel, built: Built, mode: str, only: str) -> list[Figure]:
    vm = machine(kernel, built, mode, only)
    if mode == WALL:
        # Time on the clock is what it is; emulated, it says little, but the same of all.
        vm = replace(vm, accel=accel.choose(vm)[0])
    found: list[Figure] = []
    try:
        for figure in figures.from_output(output(vm)):
            found.append(figure)
            said = f"  {figure.pattern} {figure.channel} {figure.size} {figure.depth}"
            progress.show(said)
            if VERBOSE:
                print(f"{said}: {figure.value:.1f}", flush=True)
        return found
    except VmGone as gone:
        raise CannotTest(f"the benchmark's VM: {gone}") from None
    finally:
        progress.show("")


def run(stage: Stage, kernel: Kernel, built: Built) -> int:
    if os.environ.get("LADDER", "") not in ("", "0"):
        return ladder.climb(stage, kernel)
    chosen, only, into = modes(), cells(), folder()
    print(f"\n{stage.name}: {stage.title} - {kernel.label}")
    for mode in chosen:
        start = time.monotonic()
        print(f"\n{SAYS[mode]}", flush=True)
        found = measure(kernel, built, mode, only)
        if not found:
            raise UsageError("none of these cells exists: pattern/channel/size")
        for line in figures.tables(found, mode == WALL):
            print(line)
        about = {"stage": stage.name, "kernel": kernel.release, "unit": SAYS[mode]}
        kept = [into / f"{mode}.json"]
        kept[0].write_text(figures.to_json(found, about))
        if not only:
            kept.append(plot.draw(found, into / f"{mode}.svg", SAYS[mode]))
        print(f"\n{' '.join(map(str, kept))} ({time.monotonic() - start:.0f} s)")
    return 0


def only_capstone(stages: Sequence[Stage], chosen: bool) -> Stage:
    if chosen and (len(stages) != 1 or stages[0].number != 7):
        raise UsageError("the bench is of the capstone: make bench, or make capstone bench")
    return stages[-1]
