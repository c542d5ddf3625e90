"""The initramfs of the lab VM: PID 1, the test program, busybox and bash.

All of it is static. It is packed again only when something in it has changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from . import cache, tools
from .arch import Arch
from .errors import CannotTest
from .stages import TREE
from .tests import TestInfo

CFLAGS = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-static", f"-I{TREE}/include"]

# The order in which tests are run and shown: what others build on comes first.
TEST_SOURCES = [
    f"userland/tests/{name}.c"
    for name in ("loading", "text", "queue", "blocking", "polling", "signals", "faults", "sysfs",
                 "concurrency", "capstone", "plan", "harness", "device", "module", "slow")
]  # fmt: skip

# program in the guest -> its sources, mode
PROGRAMS = {
    "init": (["guest/init.c"], 0o755),
    "bin/sudo": (["guest/sudo.c"], 0o4755),
    "bin/nonblock": (["guest/nonblock.c"], 0o755),
    "bin/ioctl": (["userland/ioctl/ioctl.c"], 0o755),
    "bin/kmsgpipe-test": ([*TEST_SOURCES, "userland/tests/*.h"], 0o755),
}

# From Debian, unpacked into the cache.
SHELLS = ("busybox", "bash")

FOLDERS = (
    "bin", "sbin", "dev", "proc", "sys", "tmp", "etc", "root", "home/student",
    # `make lab3 shell` puts the description of the user's terminal there.
    *(f"etc/terminfo/{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"),
)  # fmt: skip

FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n"
    "student:x:1000:1000:student:/home/student:/bin/bash\n",
    "etc/group": "root:x:0:\nstudent:x:1000:\n",
}


def _expand(patterns: list[str]) -> list[Path]:
    return [path for pattern in patterns for path in sorted(TREE.glob(pattern))]


def program(name: str, arch: Arch) -> Path:
    """Compiles one guest program; the result is kept by content of its sources."""
    patterns, _ = PROGRAMS[name]
    sources = _expand(patterns)
    headers = _expand(["include/*.h"])
    key = cache.digest(arch.name, *CFLAGS[:-1], *sources, *headers)

    def make(folder: Path) -> None:
        # Tests enlist in source order only if gcc does not reorder them.
        command = ["gcc", *CFLAGS, "-fno-toplevel-reorder", "-o", str(folder / "program")]
        command += [str(path) for path in sources if path.suffix == ".c"]
        done = subprocess.run(command, cwd=TREE, capture_output=True, text=True)
        if done.returncode:
            raise CannotTest(f"cannot compile {name} of the VM:\n{done.stderr.strip()}")
        if done.stderr:
            print(done.stderr.strip())

    return cache.use(cache.build_once(f"program-{Path(name).name}-{key}", make), 48) / "program"


def initrd(arch: Arch) -> Path:
    """The packed initramfs, a file."""
    programs = {name: program(name, arch) for name in PROGRAMS}
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
            os.chmod(root / name, PROGRAMS[name][1])
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
    path = program("bin/kmsgpipe-test", arch)
    listing = path.with_name("list")
    if not listing.exists():
        text = subprocess.run([path, "--list"], capture_output=True, text=True, check=True).stdout
        cache.write_atomic(listing, text)
    return [TestInfo.parse(line) for line in listing.read_text().splitlines()]
