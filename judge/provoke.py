"""make reports: provokes each kind of kernel report, and checks what we make of it.

Each file of judge/reports/ is a module with one bug, which shows when it is loaded or
unloaded. Its head comment says which kind of report has to come of it, and what the kernel
needs for that; a comment in the line that is to blame says under which word the report has
to name that line:

    Kind: use-after-free                    see judge/kinds.py
    Needs: CONFIG_KASAN !CONFIG_KCSAN       optional: options of the kernel, ! for unset
    kfree(object); /* guilty: at */

The modules are judged as a lab is, by a test that does nothing but load and unload them.
"""

from __future__ import annotations

import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Sequence

from . import build, cache, kinds, klog
from .build import Built
from .errors import CannotTest
from .kernel import Kernel
from .stages import TREE, Stage
from .tests import TestInfo
from .trial import Trial, Verdict
from .vm import Machine

FOLDER = "judge/reports"
TEST = "kernel_reports_it"
WORKERS = 2
# For all of them together.
BUILD_SECONDS = 600
FIELD = re.compile(r"^ \* (Kind|Needs): (.*\S)$", re.M)
MARK = re.compile(r"/\* guilty: (\w+) \*/$")


class BadModule(Exception):
    """A file that breaks the rules above."""


@dataclass(frozen=True)
class Module:
    """One bug, and what the kernel has to report of it."""

    name: str
    kind: str
    needs: tuple[str, ...]
    lines: dict[str, int] = field(hash=False)  # under which word the report has to name which line

    def lacking(self, config: dict[str, str]) -> str:
        """Why a kernel of that configuration cannot report it; empty if it can."""
        for option in self.needs:
            is_set = config.get(option.lstrip("!")) == "y"
            if is_set == option.startswith("!"):
                return f"{option.lstrip('!')} is {'' if is_set else 'not '}set"
        return ""


def marks(text: str) -> dict[str, int]:
    """The lines of a source that are to blame, by the word under which a report names them."""
    return {mark[1]: number for number, line in enumerate(text.splitlines(), 1)
            if (mark := MARK.search(line))}  # fmt: skip


def parse(name: str, text: str) -> Module:
    fields = dict(FIELD.findall(text))
    lines = marks(text)
    if fields.get("Kind") not in kinds.KINDS:
        raise BadModule(f"{name}: its Kind is none of judge/kinds.py")
    if not lines or len(lines) < sum(bool(MARK.search(line)) for line in text.splitlines()):
        raise BadModule(f"{name}: each word is to mark one line, and one line at least")
    return Module(name, fields["Kind"], tuple(fields.get("Needs", "").split()), lines)


def modules(folder: Path = TREE / FOLDER) -> list[Module]:
    """All of them, in the order of the table of kinds."""
    found = [parse(path.stem, path.read_text()) for path in sorted(folder.glob("*.c"))]
    order = [kind.name for kind in kinds.TABLE]
    return sorted(found, key=lambda module: order.index(module.kind))


# -- one module ---------------------------------------------------------------------------


def compare(
    module: Module, verdict: Verdict, located: Callable[[klog.Report, str], str]
) -> list[str]:
    """What is wrong with a verdict; located tells FILE:LINE of a word in a report."""
    if not verdict.reports:
        return [f"no report at all; the test: {verdict.verdict} {verdict.saw}".rstrip()]
    report = verdict.reports[0]
    if report.kind.name != module.kind:
        return [f"it is taken for {report.kind.name}", f"first line: {report.headline}"]
    wrong = []
    for word, number in module.lines.items():
        place, wanted = located(report, word), f"{module.name}.c:{number}"
        if place != wanted:
            wrong.append(f"{word}: {place or 'no line'}, where {wanted} is to blame")
    return wrong


def build_all(kernel: Kernel, chosen: Sequence[Module]) -> dict[str, Built]:
    """Compiles all modules with one call of kbuild."""
    names = sorted(path.name for path in (TREE / FOLDER).glob("*.[ch]"))
    stage = Stage(0, "reports", FOLDER, names[0].removesuffix(".c"), "", headers=tuple(names[1:]))
    place = build.place_of(kernel, TREE)
    place.mkdir(parents=True, exist_ok=True)
    with cache.lock(f"build-{place.name}-reports"):
        copies = build.copy_sources(stage, TREE, place)
        # The Makefile takes all that is there: one that the tree has no more must not be.
        for stale in set((place / FOLDER).glob("*.c")) - set(copies):
            if not stale.name.endswith(".mod.c"):
                stale.unlink()
        done = build.kbuild(stage, kernel, place, "-s", seconds=BUILD_SECONDS)
        said = build.messages(done.stdout, place, TREE)
        if done.returncode or said:
            raise CannotTest(f"the modules of {FOLDER} do not compile cleanly:\n{said}")
        built = {}
        for module in chosen:
            path = place / FOLDER / f"{module.name}.ko"
            stripped = path.with_suffix(".stripped")
            subprocess.run(["strip", "--strip-debug", "-o", stripped, path], check=True)
            built[module.name] = Built(path, stripped.read_bytes(), "")
    return built


def provoke(module: Module, built: Built, machine: Machine, test: TestInfo) -> list[str]:
    """Loads the module in a VM of its own; says what is wrong with the verdict."""
    stage = Stage(1, "reports", FOLDER, module.name, "")

    def located(report: klog.Report, word: str) -> str:
        frame = report.places.get(word)
        return Path(klog.locate(built.module, frame)[0]).name if frame else ""

    return compare(module, Trial(stage, built, machine, [test]).run()[0], located)


# -- all of them --------------------------------------------------------------------------


def line(module: Module, wrong: list[str], seconds: float) -> str:
    lines = ", ".join(f"{word} line {number}" for word, number in module.lines.items())
    mark = "MISSED" if wrong else "ok"
    return f"{mark:<6} {seconds:5.1f} s  {module.kind:<26} {module.name + '.c':<28} {lines}"


def run(kernel: Kernel, machine: Machine, test: TestInfo, only: Sequence[str] = ()) -> int:
    """Prints one table; returns how many modules were not reported as they should be."""
    every = [module for module in modules() if not only or module.name in only]
    lacking = {module: module.lacking(kernel.config) for module in every}
    chosen = [module for module in every if not lacking[module]]
    built = build_all(kernel, chosen)

    def timed(module: Module) -> tuple[list[str], float]:
        start = time.monotonic()
        return provoke(module, built[module.name], machine, test), time.monotonic() - start

    missed = 0
    with ThreadPoolExecutor(WORKERS) as pool:
        for module, (wrong, seconds) in zip(chosen, pool.map(timed, chosen)):
            print(line(module, wrong, seconds))
            missed += bool(wrong)
            for row in wrong:
                print(f"          {row}")
    for module in (module for module in every if lacking[module]):
        print(f"{'----':<6} {'':7}  {module.kind:<26} {module.name + '.c':<28} {lacking[module]}")
    without = len(every) - len(chosen)
    print(f"reports: {len(chosen) - missed} as they should be, {missed} not"
          + (f"; this kernel cannot show {without}" if without else ""))  # fmt: skip
    return missed
