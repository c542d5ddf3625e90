"""make docs-check and docs-update: replays the pages' transcripts, compares or rewrites them.

Every block gets a VM of its own, resumed from the saved state, so that no block
depends on another. Its stage is the reference one, never the student's copy.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Iterator

from . import lab, transcript
from .build import Built, build
from .kernel import Kernel
from .session import Session, step
from .snapshot import Resuming
from .stages import BY_NAME, TREE, Stage
from .transcript import Block, PageError, Step
from .vm import Machine, Vm, VmGone

HOST_SECONDS = 600
# Goals that would call us again, or wait for a person.
REFUSED = re.compile(r"\b(docs-\w+|shell|watch|gdb|dmesg|walk)\b")
# A make that calls us must not lend its options to those of the pages.
MAKE_VARIABLES = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")


class BlockFailed(Exception):
    """A block could not be replayed to its end; the text says why."""


class NotBegun(BlockFailed):
    """The VM went silent before it ran anything of ours."""


def pages() -> list[Path]:
    found = [TREE / "README.md", *sorted((TREE / "docs").rglob("*.md"))]
    return [path.relative_to(TREE) for path in found if path.is_file()]


def _on_host(block: Block) -> list[str]:
    """Each block has a work/ of its own, empty at first: the one that is here is somebody's."""
    with tempfile.TemporaryDirectory(prefix="work-") as work:
        outputs = _make(block, work)
    return [output.replace(work, "work") for output in outputs]


def _make(block: Block, work: str) -> list[str]:
    outputs = []
    env = {name: value for name, value in os.environ.items() if name not in MAKE_VARIABLES}
    env["KMSGPIPE_WORK"] = work
    # Where a debug kernel is built, `make grade` takes that, too, and `make test` speaks of it.
    env["KERNEL"] = env.get("KERNEL") or "stock"
    for typed in (step.typed for step in block.steps):
        try:
            words = shlex.split(typed)
        except ValueError as error:
            raise BlockFailed(f"{typed}: {error}") from None
        if words[:1] != ["make"] or REFUSED.search(typed):
            raise BlockFailed(f"{typed}: only make runs on the host, and no {REFUSED.pattern}")
        try:
            done = subprocess.run(
                words, cwd=TREE, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors="replace", timeout=HOST_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise BlockFailed(f"{typed}: no end within {HOST_SECONDS} s") from None
        outputs.append(done.stdout)
    return outputs


class _Replay:
    """What all blocks share: the kernel, the machine, the modules built so far."""

    def __init__(self, kernel: Kernel, machine: Machine):
        self.kernel = kernel
        self.machine = machine
        self.built: dict[str, Built] = {}

    def build(self, blocks: list[Block]) -> None:
        for name in sorted({block.attributes["vm"] for block in blocks if not block.host}):
            self.built[name] = build(BY_NAME[name], self.kernel)

    def run(self, block: Block) -> list[Step] | BlockFailed:
        """What the block really prints, or why it does not come to its end."""
        try:
            return transcript.ran(block, _on_host(block) if block.host else self._in_vm(block))
        except BlockFailed as failed:
            return failed

    def _in_vm(self, block: Block) -> list[str]:
        try:
            return self._once_in_vm(block)
        except NotBegun:
            # Neither a module nor a line of the page ran: it is the machine's trouble.
            return self._once_in_vm(block)

    def _once_in_vm(self, block: Block) -> list[str]:
        stage = BY_NAME[block.attributes["vm"]]
        with Resuming(self.machine) as resuming:
            vm = resuming.ready()
            session = self._set_up(vm, stage, block)
            outputs = []
            typed = [one.typed for one in block.steps]
            for line, following in zip(typed, [*typed[1:], None]):
                try:
                    outputs.append(step(session, line, following).output)
                except VmGone as gone:
                    raise BlockFailed(f"{line}: {lab.trouble(vm, stage, gone)}") from None
            wrong = lab.trouble(vm, stage)
            if wrong:
                raise BlockFailed(wrong)
        return outputs

    def _set_up(self, vm: Vm, stage: Stage, block: Block) -> Session:
        try:
            lab.bring(vm, stage, self.built[stage.name])
            session = Session(vm)
        except VmGone as gone:
            raise NotBegun(f"set-up: {gone}") from None
        try:
            if "unloaded" not in block.attributes:
                lab.load(vm, stage, block.attributes.get("params", ""))
        except VmGone as gone:
            raise BlockFailed(f"set-up: {lab.trouble(vm, stage, gone)}") from None
        except lab.LoadFailed as failed:
            raise BlockFailed(f"set-up: {failed}") from None
        return session


def _replay_all(replay: _Replay, blocks: list[Block]) -> Iterator[tuple[Block, list[Step] | BlockFailed]]:
    """The results in the blocks' order; two VMs at a time, for they mostly wait."""
    replay.build(blocks)
    pool = ThreadPoolExecutor(2)
    try:
        yield from zip(blocks, pool.map(replay.run, blocks))
    finally:
        # After Ctrl-C nobody wants the rest.
        pool.shutdown(cancel_futures=True)


@dataclass
class _Tally:
    good: int = 0
    bad: int = 0
    written: int = 0


def _page(page: Path, results: list, update: bool, tally: _Tally) -> None:
    """Reports on one page's blocks, or writes them anew."""
    changes: list[tuple[Block, list[Step]]] = []
    for block, real in results:
        diff = [] if isinstance(real, BlockFailed) else transcript.difference(block, real)
        if isinstance(real, BlockFailed):
            print(f"{block.where}: {real}")
            tally.bad += 1
        elif diff and not update:
            print(f"{block.where}: the page and the run differ", *diff, "", sep="\n")
            tally.bad += 1
        else:
            tally.good += 1
            changes += [(block, real)] if diff else []
    if changes:
        path = TREE / page
        # Read again: a minute has passed, and its writer may have gone on.
        try:
            path.write_text(transcript.rewritten(path.read_text(), changes))
        except PageError as error:
            print(error)
            tally.good, tally.bad = tally.good - len(changes), tally.bad + len(changes)
            return
        print(f"{page}: {len(changes)} of {len(results)} transcripts written anew")
        tally.written += len(changes)


def run(kernel: Kernel, machine: Machine, update: bool) -> int:
    start = time.monotonic()
    try:
        blocks = [block for page in pages()
                  for block in transcript.blocks(page, (TREE / page).read_text())]  # fmt: skip
    except PageError as error:
        print(f"docs: {error}")
        return 1
    if not blocks:
        print("docs: not one transcript in README.md and docs/; that cannot be right")
        return 1
    tally = _Tally()
    by_page = groupby(_replay_all(_Replay(kernel, machine), blocks), lambda result: result[0].page)
    for page, results in by_page:
        _page(page, list(results), update, tally)
    seconds = f"({time.monotonic() - start:.1f} s)"
    count = len({block.page for block in blocks})
    if update:
        print(f"docs: {tally.good} transcripts on {count} pages are up to date, "
              f"{tally.written} of them new; {tally.bad} could not be run {seconds}")  # fmt: skip
    else:
        print(f"docs: {tally.good} transcripts on {count} pages hold, {tally.bad} do not {seconds}")
    if tally.bad and not update:
        print("To have the pages say what the runs printed: make docs-update", file=sys.stderr)
    return 1 if tally.bad else 0
