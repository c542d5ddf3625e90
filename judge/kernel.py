"""The kernel that a lab is compiled for and runs in.

The stock kernel is the distribution's own image with the headers that match
it, unpacked into the cache: no root, nothing installed, and nothing that
`apt upgrade` changes under a course.  It is chosen once and remembered, so
that every later run works offline; KERNEL_UPDATE=1 chooses anew.

KDIR= and KIMAGE=, or KERNEL=/path, name any other tree.
"""

import json
import mmap
import os
import re
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

from . import arch, cache, debian, tools
from .errors import CannotTest, UsageError


@dataclass(frozen=True)
class Kernel:
    label: str                        # what to call it when talking to people
    release: str                      # uname -r in the VM
    kdir: Path                        # make -C this
    image: Path                       # qemu -kernel this
    config: Dict[str, str]            # {"CONFIG_SMP": "y", ...}
    modules: Optional[Path] = None    # lib/modules/<release>, if it is there


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

SERIES = re.compile(r"(?:stock-)?(\d+\.\d+)")


def find(spec: Optional[str] = None) -> Kernel:
    """The kernel for KERNEL=spec, fetched if it has to be."""
    kernel = _tree_asked_for(spec) or _stock(_series(spec))
    check_options(kernel)
    compiler = compiler_for(kernel)
    tools.need([compiler] if compiler else [])
    return kernel


def known(spec: Optional[str] = None) -> Optional[Kernel]:
    """The same without fetching or installing; None if it is not here yet."""
    return _tree_asked_for(spec) or _recall(_name(_series(spec)))


def _series(spec: Optional[str]) -> Optional[str]:
    if spec in (None, "", "stock"):
        return None
    series = SERIES.fullmatch(str(spec))
    if not series:
        raise UsageError(f"KERNEL={spec}: say stock, a series that the "
                         "distribution has such as 6.12, or the path of a "
                         "kernel tree")
    return series.group(1)


def _name(series: Optional[str]) -> str:
    return f"stock-{series}" if series else "stock"


# A tree of the user's

def _tree_asked_for(spec: Optional[str]) -> Optional[Kernel]:
    kdir, kimage = os.environ.get("KDIR"), os.environ.get("KIMAGE")
    spec = None if spec in ("", "stock") else spec
    path = spec if spec and not SERIES.fullmatch(spec) and (
        "/" in spec or Path(spec).is_dir()) else None
    if kdir and spec:
        raise UsageError("KERNEL= and KDIR= both name a kernel; give one")
    if kimage and not (kdir or path):
        raise UsageError("KIMAGE= needs KDIR=, the tree that the image was "
                         "built from, to compile modules for it")
    if kdir:
        return from_tree(Path(kdir), "KDIR", kimage)
    if path:
        return from_tree(Path(path), "KERNEL", kimage)
    return None


# What a tree must have before a module can be built in it: else, the remedy.
PREPARED = (
    (("Makefile",), "is not a kernel tree: it has no Makefile"),
    ((".config", "include/config/auto.conf"),
     "has no .config: configure it (`make defconfig`) and build it (`make`)"),
    (("include/config/auto.conf",),
     "is not prepared: run `make` there, or at least `make modules_prepare`"),
    (("include/generated/autoconf.h",),
     "is not prepared: run `make` there, or at least `make modules_prepare`"),
    (("include/generated/utsrelease.h",),
     "is not prepared: run `make` there, or at least `make modules_prepare`"),
    (("scripts/mod/modpost",),
     "is not prepared: run `make` there, or at least `make modules_prepare`"),
)


def from_tree(kdir: Path, variable: str, kimage: Optional[str] = None) -> Kernel:
    """A prepared or built tree; `variable` is what the user named it with."""
    said = f"{variable}={kdir}"
    kdir = Path(os.path.abspath(kdir))
    if not kdir.is_dir():
        raise CannotTest(f"{said}: there is no such directory")
    for files, remedy in PREPARED:
        if not any((kdir / file).is_file() for file in files):
            raise CannotTest(f"{said} {remedy}")
    config = read_config(kdir)
    if config.get("CONFIG_MODVERSIONS") == "y" \
            and not (kdir / "Module.symvers").is_file():
        raise CannotTest(f"{said} has no Module.symvers, and a kernel with "
                         "CONFIG_MODVERSIONS takes no module without: run "
                         "`make` there to the end")
    release = read_release(kdir)
    if kimage:
        image = _given_image(kimage, said, release)
    else:
        image = _own_image(kdir, said, release, config)
    return Kernel(f"Linux {release} ({kdir})", release, kdir,
                  _bootable(image, config), config)


def _given_image(kimage: str, said: str, release: str) -> Path:
    image = Path(os.path.abspath(kimage))
    if not image.is_file():
        raise CannotTest(f"KIMAGE={kimage}: there is no such file")
    if not os.access(image, os.R_OK):
        raise CannotTest(f"KIMAGE={kimage} is not readable for you")
    has = image_release(image)
    if has is None:
        raise CannotTest(f"KIMAGE={kimage} is not a kernel image that I know "
                         "(vmlinux or bzImage)")
    if has != release:
        raise CannotTest(f"KIMAGE={kimage} is Linux {has}, but {said} is for "
                         f"{release}: a module from there would not load")
    return image


def _own_image(kdir: Path, said: str, release: str,
               config: Dict[str, str]) -> Path:
    on = arch.host()
    names = [kdir / name for name in on.images]
    if config.get(on.elf_boot_option) != "y":
        names.reverse()               # QEMU cannot boot this vmlinux as it is
    stale = None
    for image in names + [Path(f"/boot/vmlinuz-{release}")]:
        if not image.is_file() or not os.access(image, os.R_OK):
            continue
        has = image_release(image)    # None: headers' vmlinux, types only
        if has == release:
            return image
        stale = stale or (has and f"{image} is Linux {has}, but the tree is "
                          f"for {release}: run `make` there again")
    raise CannotTest(f"{said}: {stale}" if stale else
                     f"{said} has no built kernel image "
                     f"({' or '.join(on.images)}): build it, or name one "
                     "with KIMAGE=")


def _bootable(image: Path, config: Dict[str, str]) -> Path:
    """The fastest form of this image that QEMU can boot."""
    on = arch.host()
    machine = arch.elf_machine(image)
    elf_boots = config.get(on.elf_boot_option) == "y"
    if machine is not None:
        if machine != on.elf_machine:
            raise CannotTest(f"{image} is a kernel for another architecture "
                             f"than this machine's ({on.name})")
        if not elf_boots:
            raise CannotTest(f"{image}: QEMU boots an uncompressed kernel only "
                             f"with {on.elf_boot_option}=y; set that, or give "
                             f"the compressed one (KIMAGE=.../{on.images[-1]})")
        return image
    if not (on.decompress and elf_boots):
        return image
    stat = image.stat()
    key = "image-" + cache.digest(str(image), str(stat.st_size),
                                  str(stat.st_mtime_ns))

    def make(into: Path) -> None:
        (into / "vmlinux").write_bytes(decompress(image))
    try:
        return cache.build_once(key, make) / "vmlinux"
    except UnknownCompression:
        return image                  # slower, but it boots itself


# Reading a tree

def read_release(kdir: Path) -> str:
    """What `uname -r` will say; modules built here are stamped with it.

    Not include/config/kernel.release: Debian's 6.1 has another one there.
    """
    header = (kdir / "include/generated/utsrelease.h").read_text()
    stamp = re.search(r'#define UTS_RELEASE "([^"]+)"', header)
    if not stamp:
        raise CannotTest(f"{kdir} is not prepared: its utsrelease.h is empty")
    return stamp.group(1)


def read_config(kdir: Path) -> Dict[str, str]:
    config = {}
    for name in (".config", "include/config/auto.conf"):
        if (kdir / name).is_file():
            with (kdir / name).open(errors="replace") as lines:
                for line in lines:
                    if line.startswith("CONFIG_"):
                        option, _, value = line.rstrip().partition("=")
                        config[option] = value.strip('"')
            break
    return config


def check_options(kernel: Kernel) -> None:
    needed = OPTIONS + arch.host().options
    lacking = [f"{option} ({why})" for option, why in needed
               if kernel.config.get(option) != "y"]
    if lacking:
        raise CannotTest(f"the kernel {kernel.label} lacks, built in: "
                         + ", ".join(lacking))
    if kernel.config.get("CONFIG_MODULE_SIG_FORCE") == "y":
        raise CannotTest(f"the kernel {kernel.label} takes signed modules "
                         "only (CONFIG_MODULE_SIG_FORCE)")


def compiler_for(kernel: Kernel) -> Optional[tools.Tool]:
    """Debian's headers name the compiler of their kernel; then it is needed."""
    variables = kernel.kdir / ".kernelvariables"
    named = compiler_of(variables.read_text()) if variables.is_file() else None
    return tools.compiler(named) if named else None


def compiler_of(variables: str) -> Optional[str]:
    """gcc-12 out of `CC = $(if ...) $(CROSS_COMPILE)gcc-12`"""
    line = re.search(r"^(?:override )?CC\s*:?=.*?\b(gcc-\d+)\s*$", variables,
                     re.M)
    return line.group(1) if line else None


# The stock kernel

@dataclass(frozen=True)
class Choice:
    image: debian.Package
    headers: Tuple[debian.Package, ...]

    @property
    def key(self) -> str:
        """Names the tree in the cache; another package, another tree."""
        names = [str(p) for p in (self.image, *self.headers)]
        release = re.sub(r"[^A-Za-z0-9.+~-]", "_",
                         self.image.name.partition("linux-image-")[2])
        return f"kernel-{release}-{cache.digest(*names)[:8]}"


def _stock(series: Optional[str]) -> Kernel:
    name = _name(series)
    update = os.environ.get("KERNEL_UPDATE", "") not in ("", "0")
    before = _recall(name)
    if before and not update:
        return before
    if not debian.available():
        raise CannotTest("this distribution is no Debian, so there is no stock "
                         "kernel to fetch; name one: KDIR= (a prepared or "
                         "built kernel tree) and KIMAGE= (its bzImage or "
                         "vmlinux)")
    with cache.lock(f"choose-{name}"):
        now = None if update else _recall(name)     # by another make, meanwhile
        if now:
            return now
        try:
            if update:
                debian.renew()
            return _fetched(name, series)
        except CannotTest as e:
            if not before:
                raise
            print(f"no update: {e}\nkeeping {before.label}", flush=True)
            return before


def _fetched(name: str, series: Optional[str]) -> Kernel:
    for _ in range(2):
        tree, choice = debian.with_fresh_lists(lambda: _fetch_stock(series))
        _remember(name, tree, choice)
        kernel = _recall(name)
        if kernel:
            return kernel
        cache.remove(tree)            # it was there already, but damaged
    raise CannotTest(f"the kernel of {choice.image} is not usable; use KDIR= "
                     "and KIMAGE=")


def _fetch_stock(series: Optional[str]) -> Tuple[Path, Choice]:
    choice = choose(series)
    headers = [package.name for package in choice.headers]
    wanted = [choice.image.name, *headers]
    download = choice.image.size + sum(p.size for p in choice.headers)
    # Of the image package only the kernel is kept: some 60 MB unpacked.
    keep = sum(p.installed for p in choice.headers) + 100 * cache.MB

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
    kdir = _only(tree.glob("usr/src/linux-headers-*/.kernelvariables")).parent
    makefile = kdir / "Makefile"
    makefile.write_text(relocate(makefile.read_text()))
    # Types for BTF, which would make pahole one more tool to install: without
    # it the module is built without BTF, which nothing in the course reads.
    _drop(kdir, "vmlinux")
    compressed = _only(tree.glob("boot/vmlinuz-*"))
    if arch.host().decompress:
        print("decompressing the kernel", flush=True)
        (tree / "boot/vmlinux").write_bytes(decompress(compressed))
        compressed.unlink()
    else:
        compressed.rename(tree / "boot/vmlinux")
    for spare in tree.glob("boot/*-*"):           # System.map, config
        spare.unlink()


def _only(paths: object) -> Path:
    found = list(paths)               # type: ignore[call-overload]
    if len(found) != 1:
        raise CannotTest("Debian's kernel packages are not laid out as "
                         "expected; use KDIR= and KIMAGE=")
    return found[0]


def relocate(makefile: str) -> str:
    """Headers' Makefile includes /usr/src/...; make that relative to itself."""
    if "/usr/" not in makefile:
        return makefile
    return ("here := $(dir $(realpath $(lastword $(MAKEFILE_LIST))))\n"
            + re.sub(r"(?<![\w./)])/usr/", "$(here)../../", makefile))


# Choosing packages, from their metadata alone

def choose(series: Optional[str]) -> Choice:
    """The newest image, of that series, whose headers apt has too."""
    on = arch.host()
    if series:
        name = (rf"linux-image-{re.escape(series)}(\.\d+)*(\+[a-z0-9.+]+)?"
                rf"(-\d+)?-{on.debian}")
        images = debian.candidates(name)
    else:
        name = on.kernel_stem
        images = debian.candidates(name)
    for image in images:
        choice = _with_headers(image, on)
        if choice:
            return choice
    if series:
        raise CannotTest(f"apt offers no kernel {series} with its headers; "
                         "KERNEL=stock is what the distribution has")
    raise CannotTest(f"apt offers no {name} with its headers; name a kernel "
                     "with KDIR= and KIMAGE=")


def _with_headers(image: debian.Package, on: arch.Arch) -> Optional[Choice]:
    # A meta-package depends on the image of the day.
    real = [d for d in image.depends if d.startswith("linux-image-")]
    if real:
        offered = debian.show(real[:1])
        if not offered:
            return None
        image = offered[0]
    release = image.name.partition("linux-image-")[2]
    headers: Dict[str, debian.Package] = {}
    wanted = [f"linux-headers-{release}"]
    while wanted:
        offered = debian.show(wanted)
        if len(offered) != len(wanted):
            return None
        headers.update((p.name, p) for p in offered)
        wanted = sorted({d for p in offered for d in p.depends
                         if d.startswith(("linux-headers-", "linux-kbuild-"))
                         } - set(headers))
    return Choice(image, tuple(headers.values()))


# Remembering the choice

def _note(name: str) -> Path:
    return cache.root() / f"kernel-{name}.json"


def _remember(name: str, tree: Path, choice: Choice) -> None:
    note = {"tree": tree.name, "label": f"Debian {choice.image.version}"}
    cache.write_atomic(_note(name), json.dumps(note) + "\n")


def _recall(name: str) -> Optional[Kernel]:
    """The remembered kernel, if it still is whole."""
    try:
        note = json.loads(_note(name).read_text())
        tree = cache.root() / note["tree"]
        kdir = _only(tree.glob("usr/src/linux-headers-*/.kernelvariables")).parent
        image = tree / "boot/vmlinux"
        release = read_release(kdir)
        config = read_config(kdir)
        # A crash of the whole machine can leave files that are there but empty.
        if not all((release, config, image.stat().st_size,
                    (kdir / "Makefile").stat().st_size)):
            raise CannotTest("damaged")
    except (OSError, ValueError, KeyError, TypeError, CannotTest):
        return None
    return Kernel(f"{note['label']} ({release})", release, kdir, image, config)


# Kernel images

class UnknownCompression(CannotTest):
    """Compressed in a way that cannot be undone here."""


def _xz(data: bytes) -> bytes:
    import lzma                       # here: no warm run should pay for it
    return lzma.LZMADecompressor().decompress(data)


def _gzip(data: bytes) -> bytes:
    import zlib
    return zlib.decompressobj(31).decompress(data)


def _bzip2(data: bytes) -> bytes:
    import bz2
    return bz2.BZ2Decompressor().decompress(data)


def _zstd(data: bytes) -> bytes:
    # The kernel's build puts the size behind it, which zstd complains about.
    run = subprocess.run([tools.zstd(), "-dcq"], input=data[:-4],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if run.returncode:
        raise UnknownCompression("zstd cannot decompress this kernel: "
                                 + run.stderr.decode(errors="replace").strip())
    return run.stdout


COMPRESSIONS: Tuple[Tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\xfd7zXZ\0", _xz),
    (b"\x28\xb5\x2f\xfd", _zstd),
    (b"\x1f\x8b\x08", _gzip),
    (b"BZh", _bzip2),
    (b"\x5d\0\0", _xz),               # the older .lzma
)


def decompress(image: Path) -> bytes:
    """The ELF kernel in a bzImage."""
    data = image.read_bytes()
    payload = _payload(data)
    for magic, undo in COMPRESSIONS:
        if payload.startswith(magic):
            break
    else:
        raise UnknownCompression(f"{image} is compressed in a way that I "
                                 f"do not know ({payload[:4].hex()})")
    try:
        kernel = undo(payload)
    except (OSError, ValueError, EOFError) as e:
        raise CannotTest(f"{image} is damaged: {e}") from e
    except Exception as e:            # LZMAError, zlib.error: no common base
        if isinstance(e, (CannotTest, MemoryError)):
            raise
        raise CannotTest(f"{image} is damaged: {e}") from e
    on = arch.host()
    if kernel[:4] != b"\x7fELF" \
            or struct.unpack_from("<H", kernel, 18)[0] != on.elf_machine:
        raise CannotTest(f"{image} does not contain a kernel for {on.name}")
    return kernel


def _payload(data: bytes) -> bytes:
    """The compressed part, by the boot protocol's header (2.08, 2008)."""
    if data[0x202:0x206] != b"HdrS":
        raise CannotTest("this is not a Linux bzImage")
    sectors = data[0x1f1] or 4
    offset, length = struct.unpack_from("<II", data, 0x248)
    start = (sectors + 1) * 512 + offset
    return data[start:start + length]


def image_release(image: Path) -> Optional[str]:
    """`uname -r` of a vmlinux or bzImage; None if it is neither."""
    if image.stat().st_size < 0x1000:
        return None
    with image.open("rb") as f, \
         mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[0x202:0x206] == b"HdrS":
            at = struct.unpack_from("<H", data, 0x20e)[0] + 0x200
            return data[at:at + 200].split(b"\0")[0].split(b" ")[0].decode(
                errors="replace")
        if data[:4] == b"\x7fELF":
            banner = re.search(rb"Linux version (\d[^ \0]*) \(", data)
            return banner.group(1).decode() if banner else None
    return None


# checkpatch.pl

CHECKPATCH = ("scripts/checkpatch.pl", "scripts/spelling.txt",
              "scripts/const_structs.checkpatch")


def checkpatch() -> Path:
    """The kernel's style checker; Debian has it in the kernel's source only."""
    if not debian.available() and not (cache.root() / "checkpatch").is_dir():
        own = Path(os.environ.get("KDIR", "")) / CHECKPATCH[0]
        if os.environ.get("KDIR") and own.is_file():
            return own.resolve()
        raise CannotTest("missing: the kernel's checkpatch.pl; set KDIR= to a "
                         "kernel source tree, which has it")
    return cache.build_once("checkpatch", _fetch_checkpatch) / CHECKPATCH[0]


def _fetch_checkpatch(into: Path) -> None:
    def fetch() -> Path:
        sources = debian.candidates(r"linux-source-\d+\.\d+")
        if not sources:
            raise CannotTest("apt offers no linux-source package, and "
                             "checkpatch.pl is in there")
        print(f"checkpatch.pl comes in {sources[0].name}, of which nothing "
              "else is kept", flush=True)
        return debian.fetch(sources[0].name, into)
    deb = debian.with_fresh_lists(fetch)
    print("searching it for checkpatch.pl (half a minute)", flush=True)
    found = pick_sources(deb, CHECKPATCH, into)
    deb.unlink()
    if CHECKPATCH[0] not in found:
        raise CannotTest(f"{deb.name} has no {CHECKPATCH[0]}")


def pick_sources(deb: Path, names: Tuple[str, ...], into: Path) -> List[str]:
    """Files out of the tarball in a .deb, without ever unpacking either."""
    import tarfile
    found: List[str] = []
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)],
                          stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as unpack:
        try:
            with tarfile.open(fileobj=unpack.stdout, mode="r|") as outer:
                tarball = next(m for m in outer if re.search(
                    r"/linux-source-[^/]*\.tar\.\w+$", m.name))
                with tarfile.open(fileobj=outer.extractfile(tarball),
                                  mode="r|xz") as inner:
                    for member in inner:
                        name = member.name.partition("/")[2]
                        if name not in names:
                            continue
                        data = inner.extractfile(member)
                        if data:
                            (into / name).parent.mkdir(exist_ok=True)
                            (into / name).write_bytes(data.read())
                            found.append(name)
                        if len(found) == len(names):
                            break
        except (StopIteration, tarfile.TarError, EOFError) as e:
            raise CannotTest(f"cannot read {deb.name}: {e or 'no tarball'}"
                             ) from e
        finally:
            unpack.kill()             # the rest of the tarball is of no use
    return found
