"""The host's tools: what is needed, what for, and how it gets here.

Only this module installs anything, and only Debian packages of the table.
As root it does so, after saying what; otherwise by sudo, after saying what
and why; and where it can do neither it says the exact command to type.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Sequence

from . import arch, cache, debian, progress
from .errors import CannotTest


@dataclass(frozen=True)
class Tool:
    name: str  # the command, or what to call the files
    package: str  # Debian's package
    why: str
    when: str  # the step that needs it, see PURPOSES
    files: tuple[str, ...] = ()  # not a command: any of these (globs)

    def found(self) -> str | None:
        if not self.files:
            return shutil.which(self.name)
        return next((hit for pattern in self.files for hit in glob.glob(pattern)), None)


# What a verb needs, as steps of the table.
PURPOSES: dict[str, tuple[str, ...]] = {
    "build": ("build",),
    "test": ("build", "run"),
    "check": ("build", "check"),
    "kernel": ("build", "run", "lab kernel"),
}
# Steps that a student can do without, and the verb that needs them.
OPTIONAL = {"check": "check", "lab kernel": "kernel"}


def table(machine: arch.Arch | None = None) -> list[Tool]:
    """Everything that can be needed on this architecture."""
    on = machine or arch.host()
    libraries = (f"/usr/lib/{on.triple}", f"/lib/{on.triple}", "/usr/lib64", "/usr/lib")

    def library(name: str) -> tuple[str, ...]:
        return tuple(f"{folder}/{name}" for folder in libraries)

    return [
        Tool("gcc", "gcc", "compiles the module and the tests", "build"),
        Tool("make", "make", "builds the module", "build"),
        Tool("ld", "binutils", "links the module", "build"),
        Tool("nm", "binutils", "reads the module's symbols", "build"),
        Tool("addr2line", "binutils", "finds the source line of a crash", "build"),
        # gcc alone brings neither headers nor a C library to link.
        Tool("libc.a", "libc6-dev", "links the programs in the VM", "build", library("libc.a")),
        # objtool, a part of the kernel headers that checks each object file,
        # is linked with it; nothing else pulls it in on a small system.
        Tool("libelf.so.1", "libelf1", "lets the kernel's objtool run", "build",
             library("libelf.so.1")),  # fmt: skip
        Tool(on.qemu, on.qemu_package, "the virtual machine", "run"),
        Tool("setpriv", "util-linux", "ends the VM when we end", "run"),
        Tool("cpio", "cpio", "packs the VM's first files", "run"),
        Tool("sparse", "sparse", "static checks", "check"),
        Tool("perl", "perl", "runs checkpatch.pl", "check"),
        Tool("flex", "flex", "reads the kernel's options", "lab kernel"),
        Tool("bison", "bison", "reads the kernel's options", "lab kernel"),
        Tool("bc", "bc", "computes the kernel's time constants", "lab kernel"),
        Tool("libelf.h", "libelf-dev", "builds the kernel's objtool", "lab kernel",
             ("/usr/include/libelf.h",)),  # fmt: skip
    ]


def zstd() -> str:
    """The zstd command, which some kernel images need once.

    Debian's package runs from where it is unpacked, so that getting a kernel
    needs no root even then.
    """
    here = shutil.which("zstd")
    if here or not debian.available():
        need([Tool("zstd", "zstd", "decompresses the kernel", "kernel")])
        return here or "zstd"
    key = f"zstd-{arch.host().debian}"
    return str(debian.unpack(["zstd"], key) / "usr/bin/zstd")


def compiler(command: str) -> Tool:
    """The compiler that a kernel's headers name, such as gcc-12."""
    return Tool(command, command, "the compiler this kernel was built with", "kernel")


def missing(purpose: str) -> list[Tool]:
    steps = PURPOSES[purpose]
    return [tool for tool in table() if tool.when in steps and not tool.found()]


def require(purpose: str) -> None:
    """Everything for that purpose is there, or gets there, or CannotTest."""
    need(missing(purpose))


def need(tools: Iterable[Tool]) -> None:
    """Install those of the tools that are not there."""
    lacking = [tool for tool in tools if not tool.found()]
    if not lacking:
        return
    if not shutil.which("apt-get"):
        raise CannotTest(
            f"missing: {listing(lacking)}. Install them with " "your distribution's package manager"
        )
    packages = sorted({tool.package for tool in lacking})
    _install(packages, lacking)
    still = [tool for tool in lacking if not tool.found()]
    if still:
        raise CannotTest(f"installed {' '.join(packages)}, but still missing: " + listing(still))


def listing(tools: Sequence[Tool]) -> str:
    return ", ".join(f"{tool.name} ({tool.why})" for tool in tools)


def reasons(tools: Sequence[Tool]) -> str:
    """One reason per package: binutils has several tools missing at once."""
    why: dict[str, str] = {}
    for tool in tools:
        why.setdefault(tool.package, tool.why)
    return ", ".join(f"{package} ({reason})" for package, reason in sorted(why.items()))


def command(packages: Sequence[str]) -> str:
    """What a person types to install them."""
    typed = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if os.geteuid() == 0:
        return typed
    return f"sudo {typed}" if shutil.which("sudo") else f"su -c '{typed}'"


# Installing


def _install(packages: list[str], lacking: Sequence[Tool]) -> None:
    how = _privilege()
    if how is None:
        raise CannotTest(
            f"missing: {reasons(lacking)}. To install, type:\n" f"    {command(packages)}"
        )
    print(f"installing by {'sudo ' if how else ''}apt-get: {reasons(lacking)}", flush=True)
    if how and subprocess.run(["sudo", "-v"]).returncode:
        raise CannotTest("sudo refused. To install, type:\n" f"    {command(packages)}")
    with cache.lock("install"):
        updated = not _known(packages)
        if updated:
            _apt(how, "update")
        status, last = _apt(how, "install", packages)
        if status and not updated:  # the lists may be older than the archive
            _apt(how, "update")
            status, last = _apt(how, "install", packages)
    if status:
        raise CannotTest(
            f"apt-get could not install {' '.join(packages)}: " f"{last} (all it said: {_log()})"
        )


def _privilege() -> list[str] | None:
    """What to put before apt-get; None if we may not install at all."""
    if os.geteuid() == 0:
        return []
    if not shutil.which("sudo"):
        return None
    silent = (
        subprocess.run(
            ["sudo", "-n", "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ).returncode
        == 0
    )
    return ["sudo"] if silent or sys.stdin.isatty() else None


def _known(packages: Sequence[str]) -> bool:
    """Do the system's lists offer all of them?"""
    run = subprocess.run(
        ["apt-cache", "show", "--no-all-versions", *packages],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        errors="replace",
    )
    offered = {package.name for package in debian.parse(run.stdout)}
    return offered.issuperset(packages)


def _log() -> Path:
    return cache.root() / "apt-get.log"


def _apt(how: list[str], verb: str, packages: Sequence[str] = ()) -> tuple[int, str]:
    """apt-get, its hundreds of lines in a log file; returns its last word."""
    argv = [
        *how,
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "LC_ALL=C",
        "apt-get",
        "-q",
        "-y",
        "-o",
        "Dpkg::Use-Pty=0",
        "-o",
        "DPkg::Lock::Timeout=300",
        verb,
    ]
    if packages:
        argv += ["--no-install-recommends", "--no-remove", *packages]
    last, set_up = "no reason given", 0
    with _log().open("a") as log, subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as apt:
        print("+", *argv, file=log)
        assert apt.stdout
        for line in apt.stdout:
            log.write(line)
            line = line.strip()
            if line.startswith("E: "):
                last = line[3:]
            elif line.startswith("Need to get"):
                print(f"  {line}", flush=True)
            set_up += line.startswith("Setting up ")
            progress.show(f"  {line[:70]}")
        progress.show("")
    if not apt.returncode:
        print(
            f"  installed {set_up} packages"
            if packages
            else "  updated the system's package lists",
            flush=True,
        )
    return apt.returncode, last


# Programs for the guest


@dataclass(frozen=True)
class GuestProgram:
    package: str  # Debian's static build of it...
    paths: tuple[str, ...]  # ...and where it is in there (globs)
    commands: tuple[str, ...]  # elsewhere: what it is called on PATH


GUEST: dict[str, GuestProgram] = {
    "busybox": GuestProgram(
        "busybox-static",
        ("bin/busybox", "usr/bin/busybox"),
        ("busybox", "busybox.static", "busybox-static"),
    ),
    "bash": GuestProgram(
        "bash-static",
        ("bin/bash-static", "usr/bin/bash-static"),
        ("bash-static", "bash.static", "bash"),
    ),
}


def guest_program(name: str) -> Path:
    """A static program to put into the VM; it needs nothing around it there.

    Debian's package first, so that everybody's VM has the same one.
    """
    row = GUEST[name]
    if debian.available() or _tree(row).is_dir():
        try:
            debian.unpack([row.package], _tree(row).name)
        except CannotTest:  # offline, but perhaps installed
            if not guest_program_known(name):
                raise
    found = guest_program_known(name)
    if not found:
        raise CannotTest(
            f"missing: a static {name} for the virtual machine. "
            "Install one with your distribution's package manager "
            f"(often called {name}-static)"
        )
    return found


def guest_program_known(name: str) -> Path | None:
    """The same without fetching anything."""
    row = GUEST[name]
    in_cache = (_tree(row) / path for path in row.paths)
    on_path = (Path(shutil.which(command) or "") for command in row.commands)
    for candidate in (*in_cache, *on_path):
        if (
            candidate.is_file()
            and arch.elf_static(candidate)
            and arch.elf_machine(candidate) == arch.host().elf_machine
        ):
            return candidate
    return None


def _tree(row: GuestProgram) -> Path:
    return cache.root() / f"guest-{row.package}-{arch.host().debian}"
