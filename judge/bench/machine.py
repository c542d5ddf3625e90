"""The VM of a benchmark: booted for it, with all it needs on board, and told nothing after that.

It differs from the VM of the tests. The kernel has the distribution's own settings: no checks
of the allocator, memory zeroed as it is by default. To count instructions, QEMU's clock is
the number of them (-icount), with one CPU; and since nothing of the host reaches this VM,
addresses and the date included, two runs are the same instruction by instruction.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Iterator

from .. import arch, cache, image
from ..build import Built
from ..kernel import Kernel
from ..vm import Machine, boot

INSTRUCTIONS, WALL = "instructions", "wall"
KERNEL_OPTIONS = (
    "loglevel=5", "panic=-1",
    # What a CPU needs against its own faults depends on the CPU; here it is an imagined one.
    "mitigations=off",
    # Drawn by lot at each boot otherwise.
    "nokaslr", "norandmaps",
)  # fmt: skip
BOOT_SECONDS = 600
# Between two lines of output: one cell, on a machine that has other work as well.
CELL_SECONDS = 1800


def _initrd(on: arch.Arch, built: Built) -> Path:
    """That of the tests, and behind it an archive of what is measured: kernels take both."""
    program = image.program(image.BENCH, on)
    base = image.initrd(on)
    key = cache.digest(base, program, built.stripped)

    def make(folder: Path) -> None:
        (folder / "bench").mkdir()
        (folder / "bench/run").write_bytes(program.read_bytes())
        (folder / "bench/run").chmod(0o755)
        (folder / "bench/module.ko").write_bytes(built.stripped)
        packed = subprocess.run(
            ["cpio", "--create", "--format=newc", "--owner=0:0", "--quiet"],
            cwd=folder, input=b"bench\nbench/run\nbench/module.ko\n",
            stdout=subprocess.PIPE, check=True,
        ).stdout  # fmt: skip
        (folder / "initrd").write_bytes(base.read_bytes() + packed)

    return cache.use(cache.build_once(f"benchrd-{key}", make), 12) / "initrd"


def machine(kernel: Kernel, built: Built, mode: str, cells: str) -> Machine:
    on = arch.host()
    command = f"run 0 /bench/run {mode} /bench/module.ko {cells}".strip()
    counts = mode == INSTRUCTIONS
    return Machine(
        on, "tcg", kernel.image, _initrd(on, built), cpus=1 if counts else 2, memory_mb=512,
        options=(*KERNEL_OPTIONS, f'JUDGE_FIRST="{command}"'), counts=counts,
    )  # fmt: skip


def output(machine: Machine) -> Iterator[str]:
    """Boots the VM; the lines that the benchmark prints, as they come."""
    with boot(machine, BOOT_SECONDS) as vm:
        while True:
            line = vm.line(CELL_SECONDS, "figure of the benchmark")
            yield line
            if line.startswith("@exit"):
                return
