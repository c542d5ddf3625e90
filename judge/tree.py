"""A kernel tree to compile modules in, and the image that belongs to it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from . import arch, bzimage, cache
from .errors import CannotTest


@dataclass(frozen=True)
class Kernel:
    """What a lab is compiled for and runs in."""

    label: str  # what to call it when talking to people
    release: str  # uname -r in the VM
    kdir: Path  # make -C this
    image: Path  # qemu -kernel this
    config: dict[str, str]  # {"CONFIG_SMP": "y", ...}

    def has(self, option: str) -> bool:
        """Is this option, such as CONFIG_KASAN, built in?"""
        return self.config.get(option) == "y"


NOT_PREPARED = "is not prepared: run `make` there, or at least `make modules_prepare`"
# What a tree must have before a module can be built in it: else, the remedy.
PREPARED = (
    (("Makefile",), "is not a kernel tree: it has no Makefile"),
    (
        (".config", "include/config/auto.conf"),
        "has no .config: configure it (`make defconfig`) and build it (`make`)",
    ),
    (("include/config/auto.conf",), NOT_PREPARED),
    (("include/generated/autoconf.h",), NOT_PREPARED),
    (("include/generated/utsrelease.h",), NOT_PREPARED),
    (("scripts/mod/modpost",), NOT_PREPARED),
)


def load(kdir: Path, variable: str, kimage: str | None = None) -> Kernel:
    """A prepared or built tree; `variable` is what the user named it with."""
    said = f"{variable}={kdir}"
    kdir = Path(os.path.abspath(kdir))
    if not kdir.is_dir():
        raise CannotTest(f"{said}: there is no such directory")
    for files, remedy in PREPARED:
        if not any((kdir / file).is_file() for file in files):
            raise CannotTest(f"{said} {remedy}")
    config = read_config(kdir)
    if config.get("CONFIG_MODVERSIONS") == "y" and not (kdir / "Module.symvers").is_file():
        raise CannotTest(
            f"{said} has no Module.symvers, and a kernel with CONFIG_MODVERSIONS takes no "
            "module without: run `make` there to the end"
        )
    release = read_release(kdir)
    if kimage:
        image = _given_image(kimage, said, release)
    else:
        image = _own_image(kdir, said, release, config)
    label = f"Linux {release} ({kdir})"
    return Kernel(label, release, kdir, _bootable(image, config), config)


def _given_image(kimage: str, said: str, release: str) -> Path:
    image = Path(os.path.abspath(kimage))
    if not image.is_file():
        raise CannotTest(f"KIMAGE={kimage}: there is no such file")
    if not os.access(image, os.R_OK):
        raise CannotTest(f"KIMAGE={kimage} is not readable for you")
    has = bzimage.release(image)
    if has is None:
        raise CannotTest(f"KIMAGE={kimage} is not a kernel image that I know (vmlinux or bzImage)")
    if has != release:
        raise CannotTest(
            f"KIMAGE={kimage} is Linux {has}, but {said} is for {release}: "
            "a module from there would not load"
        )
    return image


def _own_image(kdir: Path, said: str, release: str, config: dict[str, str]) -> Path:
    on = arch.host()
    names = [kdir / name for name in on.images]
    if config.get(on.elf_boot_option) != "y":
        names.reverse()  # QEMU cannot boot this vmlinux as it is
    stale = None
    for image in [*names, Path(f"/boot/vmlinuz-{release}")]:
        if not image.is_file() or not os.access(image, os.R_OK):
            continue
        has = bzimage.release(image)  # None: headers' vmlinux, types only
        if has == release:
            return image
        if has and not stale:
            stale = f"{image} is Linux {has}, but the tree is for {release}: run `make` there again"
    if stale:
        raise CannotTest(f"{said}: {stale}")
    raise CannotTest(
        f"{said} has no built kernel image ({' or '.join(on.images)}): "
        "build it, or name one with KIMAGE="
    )


def _bootable(image: Path, config: dict[str, str]) -> Path:
    """The fastest form of this image that QEMU can boot."""
    on = arch.host()
    machine = arch.elf_machine(image)
    elf_boots = config.get(on.elf_boot_option) == "y"
    if machine is not None:
        if machine != on.elf_machine:
            raise CannotTest(
                f"{image} is a kernel for another architecture than this machine's ({on.name})"
            )
        if not elf_boots:
            raise CannotTest(
                f"{image}: QEMU boots an uncompressed kernel only with {on.elf_boot_option}=y; "
                f"set that, or give the compressed one (KIMAGE=.../{on.images[-1]})"
            )
        return image
    if not (on.decompress and elf_boots):
        return image
    stat = image.stat()
    key = "image-" + cache.digest(str(image), str(stat.st_size), str(stat.st_mtime_ns))

    def make(into: Path) -> None:
        (into / "vmlinux").write_bytes(bzimage.decompress(image))

    try:
        return cache.build_once(key, make) / "vmlinux"
    except bzimage.UnknownCompression:
        return image  # slower, but it boots itself


def read_release(kdir: Path) -> str:
    """What `uname -r` will say; modules built here are stamped with it.

    Not include/config/kernel.release: Debian's 6.1 has another one there.
    """
    header = (kdir / "include/generated/utsrelease.h").read_text()
    stamp = re.search(r'#define UTS_RELEASE "([^"]+)"', header)
    if not stamp:
        raise CannotTest(f"{kdir} is not prepared: its utsrelease.h is empty")
    return stamp.group(1)


def read_config(kdir: Path) -> dict[str, str]:
    """The options that are set, in the tree's .config or what `make` has made of it."""
    for name in (".config", "include/config/auto.conf"):
        if (kdir / name).is_file():
            return parse_config((kdir / name).read_text(errors="replace"))
    return {}


def parse_config(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if line.startswith("CONFIG_"))
    return {option: value.strip().strip('"') for option, _, value in pairs}
