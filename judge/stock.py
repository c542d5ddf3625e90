"""The distribution's own kernel, with the headers that match it, unpacked into the cache.

No root, nothing installed, and nothing that `apt upgrade` changes under a course. It is
chosen once and remembered, so that every later run works offline; KERNEL_UPDATE=1
chooses anew.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable

from . import arch, bzimage, cache, debian
from .errors import CannotTest
from .tree import Kernel, read_config, read_release


@dataclass(frozen=True)
class Choice:
    image: debian.Package
    headers: tuple[debian.Package, ...]

    @property
    def key(self) -> str:
        """Names the tree in the cache; another package, another tree."""
        names = [str(package) for package in (self.image, *self.headers)]
        release = self.image.name.partition("linux-image-")[2]
        safe = re.sub(r"[^A-Za-z0-9.+~-]", "_", release)
        return f"kernel-{safe}-{cache.digest(*names)[:8]}"


def _name(series: str | None) -> str:
    return f"stock-{series}" if series else "stock"


def known(series: str | None) -> Kernel | None:
    """The kernel of that series, or of the distribution's choice, if it is here already."""
    return _recall(_name(series))


def update_wanted() -> bool:
    return os.environ.get("KERNEL_UPDATE", "") not in ("", "0")


def get(series: str | None) -> Kernel:
    """The same, fetched if it has to be."""
    name = _name(series)
    before = _recall(name)
    if before and not update_wanted():
        return before
    if not debian.available():
        raise CannotTest(
            "this distribution is no Debian, so there is no stock kernel to fetch; name one: "
            "KDIR= (a prepared or built kernel tree) and KIMAGE= (its bzImage or vmlinux)"
        )
    with cache.lock(f"choose-{name}"):
        now = None if update_wanted() else _recall(name)  # by another make, meanwhile
        if now:
            return now
        try:
            if update_wanted():
                debian.renew()
            return _fetched(name, series)
        except CannotTest as error:
            if not before:
                raise
            print(f"no update: {error}\nkeeping {before.label}", flush=True)
            return before


def _fetched(name: str, series: str | None) -> Kernel:
    for _ in range(2):
        tree, choice = debian.with_fresh_lists(lambda: _fetch(series))
        _remember(name, tree, choice)
        kernel = _recall(name)
        if kernel:
            return kernel
        cache.remove(tree)  # it was there already, but damaged
    raise CannotTest(f"the kernel of {choice.image} is not usable; use KDIR= and KIMAGE=")


def _fetch(series: str | None) -> tuple[Path, Choice]:
    choice = choose(series)
    headers = [package.name for package in choice.headers]
    wanted = [choice.image.name, *headers]
    download = choice.image.size + sum(package.size for package in choice.headers)
    # Of the image package only the kernel is kept: some 60 MB unpacked.
    keep = sum(package.installed for package in choice.headers) + 100 * cache.MB

    def make(into: Path) -> None:
        debs = debian.fetch_all(wanted, into / "debs")
        print(f"unpacking {choice.image} and its headers", flush=True)
        debian.extract(debs[0], into, only=["./boot"])
        for deb in debs[1:]:
            debian.extract(deb, into)
        _drop(into, "debs", "lib", "usr/share")
        _finish(into)

    return cache.build_once(choice.key, make, download + keep), choice


def _drop(tree: Path, *names: str) -> None:
    for name in names:
        cache.remove(tree / name)


def _finish(tree: Path) -> None:
    """Make unpacked packages work where they are."""
    kdir = _kdir(tree)
    makefile = kdir / "Makefile"
    makefile.write_text(relocate(makefile.read_text()))
    # Types for BTF, which would make pahole one more tool to install: without
    # it the module is built without BTF, which nothing in the course reads.
    _drop(kdir, "vmlinux")
    compressed = _only(tree.glob("boot/vmlinuz-*"))
    if arch.host().decompress:
        print("decompressing the kernel", flush=True)
        (tree / "boot/vmlinux").write_bytes(bzimage.decompress(compressed))
        compressed.unlink()
    else:
        compressed.rename(tree / "boot/vmlinux")
    for spare in tree.glob("boot/*-*"):  # System.map, config
        spare.unlink()


def _kdir(tree: Path) -> Path:
    return _only(tree.glob("usr/src/linux-headers-*/.kernelvariables")).parent


def _only(paths: Iterable[Path]) -> Path:
    found = list(paths)
    if len(found) != 1:
        raise CannotTest(
            "Debian's kernel packages are not laid out as expected; use KDIR= and KIMAGE="
        )
    return found[0]


def relocate(makefile: str) -> str:
    """Headers' Makefile includes /usr/src/...; make that relative to itself."""
    if "/usr/" not in makefile:
        return makefile
    here = "here := $(dir $(realpath $(lastword $(MAKEFILE_LIST))))\n"
    return here + re.sub(r"(?<![\w./)])/usr/", "$(here)../../", makefile)


# -- choosing packages, from their metadata alone ---------------------------------------


def choose(series: str | None) -> Choice:
    """The newest image, of that series such as 6.12 or 6.12-rt, whose headers apt has too."""
    on = arch.host()
    name = on.kernel_stem
    if series:
        number, _, realtime = series.partition("-")
        flavour = f"rt-{on.debian}" if realtime else on.debian
        name = rf"linux-image-{re.escape(number)}(\.\d+)*(\+[a-z0-9.+]+)?(-\d+)?-{flavour}"
    choices = (_with_headers(image) for image in debian.candidates(name))
    choice = next((choice for choice in choices if choice), None)
    if choice:
        return choice
    if series:
        raise CannotTest(
            f"apt offers no kernel {series} with its headers; "
            "KERNEL=stock is what the distribution has"
        )
    raise CannotTest(f"apt offers no {name} with its headers; name a kernel with KDIR= and KIMAGE=")


def _with_headers(image: debian.Package) -> Choice | None:
    # A meta-package depends on the image of the day.
    real = [name for name in image.depends if name.startswith("linux-image-")]
    if real:
        offered = debian.show(real[:1])
        if not offered:
            return None
        image = offered[0]
    release = image.name.partition("linux-image-")[2]
    of_headers = ("linux-headers-", "linux-kbuild-")
    headers, unknown = debian.closure(
        [f"linux-headers-{release}"], lambda name: name.startswith(of_headers)
    )
    return None if unknown else Choice(image, tuple(headers))


# -- remembering the choice -------------------------------------------------------------


def _note(name: str) -> Path:
    return cache.root() / f"kernel-{name}.json"


def _remember(name: str, tree: Path, choice: Choice) -> None:
    note = {"tree": tree.name, "label": f"Debian {choice.image.version}"}
    cache.write_atomic(_note(name), json.dumps(note) + "\n")


def _recall(name: str) -> Kernel | None:
    """The remembered kernel, if it still is whole."""
    try:
        note = json.loads(_note(name).read_text())
        tree = cache.root() / note["tree"]
        kdir = _kdir(tree)
        image = tree / "boot/vmlinux"
        release = read_release(kdir)
        config = read_config(kdir)
        sizes = image.stat().st_size, (kdir / "Makefile").stat().st_size
        # A crash of the whole machine can leave files that are there but empty.
        if not all((release, config, *sizes)):
            return None
        return Kernel(f"{note['label']} ({release})", release, kdir, image, config)
    except (OSError, ValueError, KeyError, TypeError, CannotTest):
        return None
