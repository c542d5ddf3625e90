"""Which kernel a lab is compiled for and runs in: what KERNEL=, KDIR= and KIMAGE= name.

stock.py has the distribution's, labkernel.py those of `make kernel`, tree.py any other.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from . import arch, labkernel, stock, tools, tree
from .errors import CannotTest, UsageError
from .tree import Kernel

# Options without which the course cannot run; arch.py adds its board's.
OPTIONS = (
    ("CONFIG_MODULES", "loading modules"),
    ("CONFIG_MODULE_UNLOAD", "rmmod"),
    ("CONFIG_PRINTK", "the kernel log"),
    ("CONFIG_MULTIUSER", "ordinary users"),
    ("CONFIG_BLK_DEV_INITRD", "the VM's files"),
    ("CONFIG_BINFMT_ELF", "programs"),
    ("CONFIG_BINFMT_SCRIPT", "scripts"),
    ("CONFIG_DEVTMPFS", "/dev/kmsgpipe0"),
    ("CONFIG_TMPFS", "/tmp"),
    ("CONFIG_PROC_FS", "/proc"),
    ("CONFIG_SYSFS", "/sys"),
    ("CONFIG_TTY", "the serial ports"),
    ("CONFIG_EPOLL", "the poll tests"),
    ("CONFIG_USERFAULTFD", "the tests of slow copies"),
    ("CONFIG_SLUB_DEBUG", "the tests for leaks"),
)

SERIES = re.compile(r"(?:stock-)?(\d+\.\d+(?:-rt)?)")


def find(spec: str | None = None) -> Kernel:
    """The kernel for KERNEL=spec, fetched if it has to be."""
    kernel = _tree_asked_for(spec)
    if not kernel:
        kernel = labkernel.find(spec) if spec in labkernel.LABS else stock.get(_series(spec))
    check_options(kernel)
    compiler = compiler_for(kernel)
    tools.need([compiler] if compiler else [])
    return kernel


def known(spec: str | None = None) -> Kernel | None:
    """The same without fetching or installing; None if it is not here yet."""
    kernel = _tree_asked_for(spec)
    if kernel or spec not in labkernel.LABS:
        return kernel or stock.known(_series(spec))
    return labkernel.known(spec)


def _series(spec: str | None) -> str | None:
    """6.12 out of KERNEL=6.12, or 6.12-rt; None for the distribution's choice."""
    if spec in (None, "", "stock"):
        return None
    series = SERIES.fullmatch(spec)
    if not series:
        raise UsageError(
            f"KERNEL={spec}: say stock, a series that the distribution has such as 6.12 or 6.12-rt, "
            f"{', '.join(labkernel.LABS)} (see `make kernel`), or the path of a kernel tree"
        )
    return series.group(1)


def _is_path(spec: str) -> bool:
    named = spec in labkernel.LABS or SERIES.fullmatch(spec)
    return not named and ("/" in spec or Path(spec).is_dir())


def _tree_asked_for(spec: str | None) -> Kernel | None:
    """A tree of the user's, if they name one."""
    kdir, kimage = os.environ.get("KDIR"), os.environ.get("KIMAGE")
    spec = None if spec in ("", "stock") else spec
    path = spec if spec and _is_path(spec) else None
    if kdir and spec:
        raise UsageError("KERNEL= and KDIR= both name a kernel; give one")
    if kimage and not (kdir or path):
        raise UsageError(
            "KIMAGE= needs KDIR=, the tree that the image was built from, to compile modules for it"
        )
    if kdir:
        return tree.load(Path(kdir), "KDIR", kimage)
    return tree.load(Path(path), "KERNEL", kimage) if path else None


def check_options(kernel: Kernel) -> None:
    needed = OPTIONS + arch.host().options
    lacking = [f"{option} ({why})" for option, why in needed if not kernel.has(option)]
    if lacking:
        raise CannotTest(f"the kernel {kernel.label} lacks, built in: {', '.join(lacking)}")
    if kernel.has("CONFIG_MODULE_SIG_FORCE"):
        raise CannotTest(
            f"the kernel {kernel.label} takes signed modules only (CONFIG_MODULE_SIG_FORCE)"
        )


def compiler_for(kernel: Kernel) -> tools.Tool | None:
    """Debian's headers name the compiler of their kernel; then it is needed."""
    variables = kernel.kdir / ".kernelvariables"
    named = compiler_of(variables.read_text()) if variables.is_file() else None
    return tools.compiler(named) if named else None


def compiler_of(variables: str) -> str | None:
    """gcc-12 out of `CC = $(if ...) $(CROSS_COMPILE)gcc-12`"""
    line = re.search(r"^(?:override )?CC\s*:?=.*?\b(gcc-\d+)\s*$", variables, re.M)
    return line.group(1) if line else None
