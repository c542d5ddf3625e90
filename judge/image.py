"""The initramfs of the lab VM: PID 1, the test program, busybox and bash.

All of it is static. It is packed again only when something in it has changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable

from . import cache, tools, width
from .arch import Arch
from .errors import CannotTest
from .kernel import Kernel
from .stages import TREE
from .tests import TestInfo

CFLAGS = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-static", f"-I{TREE}/include"]
# Two pieces of memory, not five: each fork copies what describes them, and there are thousands of
# forks. On the debug kernel a fork and its exit take 5.4 ms this way, and 6.3 ms the other.
LINKING = ["-Wl,-z,noseparate-code", "-Wl,-z,norelro"]

# The order in which tests are run and shown: what others build on comes first.
TEST_SOURCES = [
    f"userland/tests/{name}.c"
    for name in ("loading", "text", "queue", "blocking", "polling", "signals", "faults",
                 "control", "expiry", "sysfs", "concurrency", "capstone", "failing", "plan",
                 "harness", "device", "inject", "leaks", "module", "privilege", "slow")
]  # fmt: skip


@dataclass(frozen=True)
class Program:
    sources: tuple[str, ...]
    mode: int = 0o755
    in_32_bits: bool = False


TESTS, TESTS_32 = "bin/kmsgpipe-test", "bin/kmsgpipe-test32"
# Not on board of each VM: `make bench` adds it.
BENCH = "bin/kmsgpipe-bench"

PROGRAMS = {
    "init": Program(("guest/init.c", "guest/kmemleak.c", "guest/*.h")),
    "bin/sudo": Program(("guest/sudo.c",), mode=0o4755),
    "bin/nonblock": Program(("guest/nonblock.c",)),
    "bin/ioctl": Program(("userland/ioctl/ioctl.c",)),
    TESTS: Program((*TEST_SOURCES, "userland/tests/*.h")),
    # The same once more: what a 32-bit program gets must not differ.
    TESTS_32: Program((*TEST_SOURCES, "userland/tests/*.h"), in_32_bits=True),
    BENCH: Program(("userland/bench/*.c", "userland/bench/*.h")),
}

# From Debian, unpacked into the cache.
SHELLS = ("busybox", "bash")

FOLDERS = (
    "bin", "sbin", "dev", "proc", "sys", "tmp", "etc", "root", "home/student",
    # What is not static comes into the VM later, see strace.py.
    "lib", "lib64",
    # `make lab3 shell` puts the description of the user's terminal there.
    *(f"etc/terminfo/{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"),
)  # fmt: skip

FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n"
    "student:x:1000:1000:student:/home/student:/bin/bash\n",
    "etc/group": "root:x:0:\nstudent:x:1000:\n",
}


def _expand(patterns: Iterable[str]) -> list[Path]:
    return [path for pattern in patterns for path in sorted(TREE.glob(pattern))]


def program(name: str, arch: Arch) -> Path:
    """Compiles one guest program; the result is kept by content of its sources.

    One of 32 bits cannot be had everywhere: then width.Unavailable says why.
    """
    what = PROGRAMS[name]
    if what.in_32_bits and not arch.compat:
        raise width.Unavailable(f"{arch.name} has no 32-bit programs")
    sources = _expand(what.sources)
    headers = _expand(["include/*.h"])
    # Not where its libraries are: they are looked for only to compile it.
    flags = arch.compat.flags if what.in_32_bits and arch.compat else ()
    key = cache.digest(arch.name, *CFLAGS[:-1], *LINKING, *flags, *sources, *headers)

    def make(folder: Path) -> None:
        # Tests enlist in source order only if gcc does not reorder them.
        command = ["gcc", *CFLAGS, *(width.flags(arch) if what.in_32_bits else [])]
        command += [*LINKING, "-fno-toplevel-reorder", "-o", str(folder / "program")]
        command += [str(path) for path in sources if path.suffix == ".c"]
        done = subprocess.run(command, cwd=TREE, capture_output=True, text=True)
        if done.returncode:
            raise CannotTest(f"cannot compile {name} of the VM:\n{done.stderr.strip()}")
        if done.stderr:
            print(done.stderr.strip())

    return cache.use(cache.build_once(f"program-{Path(name).name}-{key}", make), 48) / "program"


def why_not_32_bits(arch: Arch, kernel: Kernel | None = None) -> str:
    """Why no test can be run as a 32-bit program, on that kernel; empty if they can."""
    why = width.kernel_runs_none(kernel, arch) if kernel else ""
    try:
        return why or (program(TESTS_32, arch) and "")
    except width.Unavailable as unavailable:
        return str(unavailable)


def initrd(arch: Arch) -> Path:
    """The packed initramfs, a file."""
    missing = {BENCH, TESTS_32} if why_not_32_bits(arch) else {BENCH}
    programs = {name: program(name, arch) for name in PROGRAMS if name not in missing}
    shells = {name: tools.guest_program(name) for name in SHELLS}
    bashrc = TREE / "guest/bashrc"
    key = cache.digest(*programs.values(), *shells.values(), bashrc, Path(__file__))

    def make(folder: Path) -> None:
        root = folder / "root"
        for name in FOLDERS:
            (root / name).mkdir(parents=True)
        for name, text in FILES.items():
            (root / name).write_text(text)
        for name, path in programs.items():
            shutil.copy(path, root / name)
            os.chmod(root / name, PROGRAMS[name].mode)
        for name, path in shells.items():
            shutil.copy(path, root / "bin" / name)
            os.chmod(root / "bin" / name, 0o755)
        # busybox is every command whose name it is called by.
        applets = subprocess.run(
            [shells["busybox"], "--list"], capture_output=True, text=True, check=True
        ).stdout.split()
        for name in applets:
            if not (root / "bin" / name).exists():
                (root / "bin" / name).symlink_to("busybox")
        shutil.copy(bashrc, root / "etc/bashrc")
        names = "\n".join(sorted(str(path.relative_to(root)) for path in root.rglob("*")))
        with open(folder / "initrd", "wb") as packed:
            subprocess.run(
                ["cpio", "--create", "--format=newc", "--owner=0:0", "--quiet"],
                cwd=root, input=names.encode(), stdout=packed, check=True,
            )  # fmt: skip
        shutil.rmtree(root)

    return cache.use(cache.build_once(f"initrd-{key}", make), 12) / "initrd"


def tests(arch: Arch) -> list[TestInfo]:
    """All tests of the test program, in their order."""
    path = program(TESTS, arch)
    listing = path.with_name("list")
    if not listing.exists():
        text = subprocess.run([path, "--list"], capture_output=True, text=True, check=True).stdout
        cache.write_atomic(listing, text)
    return [TestInfo.parse(line) for line in listing.read_text().splitlines()]
