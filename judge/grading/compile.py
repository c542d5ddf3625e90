"""Compiles a submission in the sandbox, with our kbuild file, and asks what it has read.

GCC and the assembler each write down every file that they open. One outside of the kernel's
headers and ours makes a submission not gradable, however its name was hidden. What is handed
back from the sandbox is data: it is opened as that, and its size is not believed.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Iterable, Iterator

from .. import cache
from ..build import Built, BuildFailed, messages
from ..kernel import Kernel
from ..stages import TREE, Stage
from ..text import printable
from .sandbox import MOST_CPU, MOST_FILE, MOST_MEMORY, MB, Done, Room, Sandbox
from .submission import NotGradable, Submission, shown

MOST_MODULE = 8 << 20  # without debug data; the capstone has 60 kB
MOST_MESSAGES = 8000  # characters of what the compiler said
# The compiler's own headers, which kernels before 5.16 use two of.
COMPILERS = re.compile(r"/usr/(local/)?lib(64)?/(gcc|llvm|clang)[-\w.]*/")
# What a compiler that hit one of our bounds says, among numbers that differ each time.
BOUNDS = (
    (re.compile(r"CPU time limit exceeded|SIGXCPU|signal 24"),
     f"the compiler was ended after {MOST_CPU} s of computing"),
    (re.compile(r"out of memory|[Vv]irtual memory exhausted|memory exhausted"),
     f"the compiler was ended: it took more than {MOST_MEMORY // MB} MB of memory"),
    (re.compile(r"File size limit exceeded|File too large"),
     f"the compiler was ended: it wrote more than {MOST_FILE // MB} MB"),
    (re.compile(r"Killed signal"), "the compiler was ended: it took too much"),
    (re.compile(r"[Ss]egmentation fault|internal compiler error"),
     "the compiler crashed on this source"),
)  # fmt: skip
# Where a message is from.
PLACE = re.compile(r"^(?:In file included from | +from )?(/[^:\n]+):\d+[:,]", re.M)


@dataclass(frozen=True)
class Workshop:
    """Where submissions are compiled for one kernel."""

    sandbox: Sandbox
    kernel: Kernel

    def room(self, scratch: Path) -> Room:
        return Room(scratch / "tree", tuple(_tree_of(self.kernel)), scratch / "root")


def _tree_of(kernel: Kernel) -> Iterator[Path]:
    """The folders that kbuild reads for this kernel."""
    yield kernel.kdir
    real = kernel.kdir.resolve()
    if real != kernel.kdir:
        yield real
    if cache.root().resolve() in real.parents:  # one entry of the cache, with all it needs
        yield cache.root() / real.relative_to(cache.root().resolve()).parts[0]
    source = real / "source"  # a tree that was built with O=
    if source.is_dir():
        yield source.resolve()


def _lay_out(submission: Submission, place: Path) -> None:
    """A fresh tree: the submission's few files, and all else from ours."""
    folder = place / submission.stage.folder
    folder.mkdir(parents=True)
    (place / "include").mkdir()
    (folder / "Makefile").write_bytes((TREE / submission.stage.folder / "Makefile").read_bytes())
    for header in sorted((TREE / "include").glob("*.h")):
        (place / "include" / header.name).write_bytes(header.read_bytes())
    for name, data in submission.files.items():
        (folder / name).write_bytes(data)


def _object(stage: Stage) -> str:
    return f"{PurePosixPath(stage.source).stem}.o"


def _commands(stage: Stage, kernel: Kernel, place: Path) -> str:
    """One shell line: kbuild, and the module without its debug data."""
    folder = place / stage.folder
    target = _object(stage)
    flags = ["-fmax-errors=20", "-fdiagnostics-color=never", f"-fmacro-prefix-map={place}/="]
    if kernel.config.get("CONFIG_CC_IS_GCC", "y") == "y":
        # kbuild asks for the user's headers only (-MMD), and a source can call any file a
        # system header. The last of the two counts.
        flags += [f"-Wp,-MD,{folder}/.{target}.d", f"-Wa,--MD,{folder}/.{target}.asm"]
    make = ["make", "-s", "-j2", "-C", str(kernel.kdir), f"M={folder}",
            f"CFLAGS_{target}={' '.join(flags)}", "modules"]  # fmt: skip
    module = folder / f"{stage.module}.ko"
    strip = ["strip", "--strip-debug", "-o", str(module.with_suffix(".stripped")), str(module)]
    return f"{shlex.join(make)} && {shlex.join(strip)}"


def _take(path: Path, most: int) -> bytes:
    """A file out of the sandbox; b"" if it is none, or too large a one."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return b""
        data = file.read(most + 1)
    return data if len(data) <= most else b""


def files_read(folder: Path, target: str) -> Iterator[str]:
    """What the compiler and the assembler have opened, as they wrote it down."""
    compiled = _take(folder / f".{target}.cmd", MOST_FILE).decode("utf-8", "replace")
    _, _, list_of = compiled.partition("\ndeps_")
    for line in list_of.partition("\n\n")[0].splitlines()[1:]:
        name = line.strip().removesuffix("\\").strip()
        if name and not name.startswith("$(wildcard"):
            yield name
    assembled = _take(folder / f".{target}.asm", MOST_FILE).decode("utf-8", "replace")
    _, _, list_of = assembled.partition(":")
    yield from list_of.replace("\\\n", " ").split()


def _strangers(names: Iterable[str], room: Room, kernel: Kernel) -> list[str]:
    """Those of the files that are neither the kernel's nor ours."""
    roots = [os.path.realpath(path) for path in (room.place, *room.readable)]
    found = []
    for name in names:
        path = os.path.realpath(os.path.join(kernel.kdir, name))
        # The assembler reads what the compiler wrote for it, which is gone by now.
        temporary = re.fullmatch(r"(/tmp|.*/\.tmp)/cc\w+\.s", path)
        ours = any(path.startswith(f"{root}/") for root in roots)
        if not (ours or temporary or COMPILERS.match(path)):
            found.append(name)
    return found


def _said(done: Done, room: Room) -> str:
    """What the compiler said, or what it meant."""
    if done.cut:
        return done.cut
    for pattern, meaning in BOUNDS:
        if done.status and pattern.search(done.output):
            return meaning
    text = messages(printable(done.output.encode()), room.place, TREE)
    for path in (room.place, *room.readable[::-1]):
        text = text.replace(f"{path}/", "")
    return text if len(text) <= MOST_MESSAGES else text[:MOST_MESSAGES] + "\n..."


def compile(submission: Submission, workshop: Workshop, scratch: Path) -> Built:
    """The module; NotGradable if it reads what it must not, BuildFailed if it does not compile."""
    stage, sandbox = submission.stage, workshop.sandbox
    for name, data in submission.files.items():
        sandbox.scan(name, data.decode("utf-8", "replace"))
    room = workshop.room(scratch)
    _lay_out(submission, room.place)
    done = sandbox.run(room, ["sh", "-c", _commands(stage, workshop.kernel, room.place)])
    names = files_read(room.place / stage.folder, _object(stage))
    # After an error there is no list, but the message says which file it is in.
    names = [*names, *PLACE.findall(done.output)]
    if strange := _strangers(names, room, workshop.kernel):
        raise NotGradable(f"it reads {shown(strange[0])} when it is compiled: only headers "
                          "of the kernel and of the course")  # fmt: skip
    text = _said(done, room)
    if done.status or done.cut:
        raise BuildFailed(text or "kbuild failed without a message")
    module = room.place / stage.folder / f"{stage.module}.ko"
    stripped = _take(module.with_suffix(".stripped"), MOST_MODULE)
    if not stripped:
        raise BuildFailed(f"there is no module, or it has more than {MOST_MODULE >> 20} MB")
    return Built(module, stripped, text)
