"""Every fact that depends on the processor architecture, in one table.

A new architecture is one more row in ARCHS.  Anything that asks "is this
x86?" anywhere else is a fact that belongs here.
"""

from __future__ import annotations

import platform
import struct
from dataclasses import dataclass
from pathlib import Path

from .errors import CannotTest


@dataclass(frozen=True)
class Compat:
    """32-bit programs on a 64-bit kernel."""

    flags: tuple[str, ...]  # gcc makes them, with these
    option: str  # kernel option without which none runs...
    off_option: str  # ...and the one that forbids it at boot
    packages: tuple[str, ...]  # Debian's libraries, {gcc}: major version
    headers: str  # where these lie in there...
    libraries: tuple[str, ...]  # ...and what is to be linked


@dataclass(frozen=True)
class Arch:
    name: str  # what uname -m calls it
    debian: str  # what Debian calls it
    source: str  # its folder below arch/ in the kernel's source
    triple: str  # Debian's multiarch directory
    qemu: str  # the emulator's command...
    qemu_package: str  # ...and the Debian package it is in
    machine: tuple[str, ...]  # QEMU arguments that choose the board
    tcg_cpu: str  # -cpu when emulating
    kvm_cpu: str  # -cpu with KVM
    console: str  # tty of the first serial port: console
    control: str  # tty of the second one: test results
    shell: str  # the third one: the first on the PCI bus
    images: tuple[str, ...]  # kernel images in a built tree, best first
    kernel_stem: str  # Debian meta-packages: kernel image...
    headers_stem: str  # ...and the headers that go with it
    elf_machine: int  # e_machine in an ELF header
    decompress: bool  # boot the ELF vmlinux, not the bzImage?
    elf_boot_option: str  # kernel option that makes that possible
    tcg_options: tuple[str, ...]  # kernel command line when emulating
    options: tuple[tuple[str, str], ...]  # kernel options its board needs: why
    lab_options: tuple[str, ...]  # what judge/configs/base.config cannot know...
    lab_make: tuple[str, ...]  # ...and what the kernel's makefiles do not
    compat: Compat | None = None  # None: its programs have one width only


ARCHS = (
    Arch(
        name="x86_64",
        debian="amd64",
        source="x86",
        triple="x86_64-linux-gnu",
        qemu="qemu-system-x86_64",
        qemu_package="qemu-system-x86",
        # microvm boots faster still, but gives Debian kernels one CPU only,
        # and with one CPU a course about races has nothing to show.
        machine=(
            "-M", "pc",
            # Every slot that could be plugged is a page of AML, which a debug kernel reads
            # for ten seconds.
            "-global", "PIIX4_PM.acpi-root-pci-hotplug=off",
            "-global", "PIIX4_PM.acpi-pci-hotplug-with-bridge-support=off",
        ),  # fmt: skip
        # An old model: what a newer one offers, such as wide registers to save at each
        # context switch, makes emulation slower.  SMEP and SMAP report a driver
        # that uses a user's pointer as it is.
        tcg_cpu="Nehalem,+smep,+smap",
        kvm_cpu="host",
        console="ttyS0",
        control="ttyS1",
        # Not by its number: that differs with the kernel's options.
        shell="pci0",
        images=("vmlinux", "arch/x86/boot/bzImage"),
        kernel_stem="linux-image-amd64",
        headers_stem="linux-headers-amd64",
        elf_machine=62,
        # Emulated, the kernel's own decompressor takes longer than its boot.
        decompress=True,
        elf_boot_option="CONFIG_PVH",
        # The alternatives to the TSC are devices, and each reading leaves the
        # translated code.
        tcg_options=("tsc=reliable", "clocksource=tsc"),
        options=(
            ("CONFIG_SERIAL_8250", "the serial ports"),
            ("CONFIG_SERIAL_8250_CONSOLE", "the console"),
            ("CONFIG_PCI", "files on their way into the VM"),
            ("CONFIG_SERIAL_8250_PCI", "the shell's serial port"),
        ),
        lab_options=(
            "CONFIG_64BIT=y",
            # 32-bit programs, which share the device with others.
            "CONFIG_IA32_EMULATION=y",
            # QEMU starts the ELF vmlinux, see elf_boot_option; and KVM's clock.
            "CONFIG_HYPERVISOR_GUEST=y",
            "CONFIG_PARAVIRT=y",
            "CONFIG_PVH=y",
            "CONFIG_KVM_GUEST=y",
            # The second processor would be found without it. But on a busy machine a timer is
            # measured against the PIT in vain, and ACPI alone leads to a better one.
            "CONFIG_ACPI=y",
            "CONFIG_PCI=y",
            "CONFIG_SERIAL_8250_PCI=y",
        ),
        # QEMU starts the kernel in this file, where nothing of KASAN or KCSAN is set up yet.
        lab_make=("KASAN_SANITIZE_enlighten.o=n", "KCSAN_SANITIZE_enlighten.o=n"),
        compat=Compat(
            # 32-bit calls cannot describe all files of /proc without the second.
            flags=("-m32", "-D_FILE_OFFSET_BITS=64"),
            option="CONFIG_IA32_EMULATION",
            off_option="CONFIG_IA32_EMULATION_DEFAULT_DISABLED",
            # Not gcc-multilib, which Debian lets nobody have beside a
            # compiler for another machine.
            packages=("libc6-dev-i386", "lib32gcc-{gcc}-dev"),
            headers="usr/include/x86_64-linux-gnu",
            libraries=("usr/lib32", "usr/lib/gcc/x86_64-linux-gnu/{gcc}/32"),
        ),
    ),
)


def host() -> Arch:
    """The architecture of this machine; guests are of the same one."""
    machine = platform.machine()
    for arch in ARCHS:
        if arch.name == machine:
            return arch
    known = ", ".join(arch.name for arch in ARCHS)
    raise CannotTest(
        f"this machine is {machine}; the virtual machine is "
        f"known to work on {known} only, so far"
    )


def elf_machine(path: Path) -> int | None:
    """e_machine of an ELF file; None if it is no ELF file at all."""
    with path.open("rb") as f:
        head = f.read(20)
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return None
    return struct.unpack_from("<H" if head[5] == 1 else ">H", head, 18)[0]


def elf_static(path: Path) -> bool:
    """Does this program run without a dynamic loader?  (64-bit LE ELF)"""
    with path.open("rb") as f:
        head = f.read(64)
        if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":
            return False
        (phoff,) = struct.unpack_from("<Q", head, 32)
        size, count = struct.unpack_from("<HH", head, 54)
        f.seek(phoff)
        table = f.read(size * count)
    pt_interp = 3
    return all(struct.unpack_from("<I", table, i * size)[0] != pt_interp for i in range(count))
