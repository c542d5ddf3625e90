"""Compiles a stage's module against a kernel, outside of the source tree.

kbuild writes two dozen files beside what it compiles, and two kernels would fight
over them. So the few source files are copied into the cache, with the same
places relative to each other, and messages name the original files again.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from . import cache, recipe
from .errors import CannotTest
from .kernel import Kernel
from .stages import TREE, Stage, shown

# What kbuild says that is no message about the student's code.
NOISE = re.compile(
    r"^(make(\[\d+\])?: |Skipping BTF generation|warning: the compiler differs"
    r"|  The kernel was built by:|  You are using:|cc1: some warnings being treated as errors"
    r"|\S+: note: each undeclared identifier is reported only once)"
)
# The kernel's headers by the names that #include has for them, not by their place in the cache.
KERNEL_HEADERS = re.compile(r"(?<!\S)/\S*?/((?:arch/\w+/)?include/(?:uapi/)?(?:linux|asm|asm-generic)/)")
BUILD_SECONDS = 120
OF_OUR_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL",
               "KDIR", "KIMAGE", "KERNEL", "V", "W", "C", "M", "O")  # fmt: skip


@dataclass(frozen=True)
class Built:
    """A module that compiled: its file, for line numbers, and its bytes without debug data.

    The bytes, because another make may compile the next edit into the same file.
    """

    module: Path
    stripped: bytes
    messages: str


class BuildFailed(Exception):
    """The student's code does not compile; the text is the compiler's."""


def _copy(source: Path, target: Path) -> None:
    """Copies what differs, so that make sees only real changes as new."""
    data = source.read_bytes()
    if target.is_file() and target.read_bytes() == data:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def place_of(kernel: Kernel, tree: Path, options: Sequence[str] = ()) -> Path:
    """Where this tree is compiled for this kernel: another place once the kernel is built anew."""
    key = cache.digest(str(tree), *_kernel_built(kernel), *options)
    return cache.root() / "build" / key


def _kernel_built(kernel: Kernel) -> list[str]:
    """What tells a kernel from others, and from itself before it was built anew."""
    config = kernel.kdir / "include/generated/autoconf.h"
    symbols = kernel.kdir / "Module.symvers"
    built = [str(path.stat().st_mtime_ns) for path in (config, symbols) if path.exists()]
    return [str(kernel.kdir), kernel.release, *built]


def copy_sources(stage: Stage, tree: Path, place: Path) -> list[Path]:
    """Copies what a stage is compiled from; the same places, below another folder.

    Of another tree than ours only the source: a Makefile is a program that runs here. There
    a header may be missing: its student may not have come so far.
    """
    headers = [str(path.relative_to(TREE)) for path in sorted((TREE / "include").glob("*.h"))]
    copies = []
    for name in (f"{stage.folder}/Makefile", *stage.sources, *headers):
        origin = (tree if name in stage.sources else TREE) / name
        if not origin.exists() and tree != TREE and origin.suffix == ".h":
            (place / name).unlink(missing_ok=True)
            continue
        if not origin.exists():
            raise CannotTest(f"{name} is not there")
        try:
            _copy(origin, place / name)
        except (IsADirectoryError, PermissionError) as error:
            raise CannotTest(f"cannot read {name}: {error.strerror}") from None
        copies.append(place / name)
    # One that the tree has no more must not go on being found.
    for stale in set((place / "include").glob("*.h")) - set(copies):
        stale.unlink(missing_ok=True)
    return copies


def kbuild(stage: Stage, kernel: Kernel, place: Path, *extra: str,
           seconds: int = BUILD_SECONDS) -> subprocess.CompletedProcess:  # fmt: skip
    """One call of kbuild on the copies in place, output and errors in one."""
    # It ends with us: our lock on the place does, and the next make wants to build there.
    command = ["setpriv", "--pdeathsig", "TERM", "make", "-j2", "-C", str(kernel.kdir)]
    command.append(f"M={place / stage.folder}")
    # Where the kernel has UBSAN, it watches files that ask for it.
    command.append("UBSAN_SANITIZE=y")
    return _run([*command, *extra, "modules"], _environment(), seconds=seconds)


def _environment() -> dict[str, str]:
    """A make that calls us must not lend its options and job slots to kbuild."""
    env = {k: v for k, v in os.environ.items() if k not in OF_OUR_MAKE}
    return {**env, "LC_ALL": "C"}


def _shell(commands: str, folder: Path) -> tuple[int, str]:
    """What kbuild would call, in its folder; exit status and output, up to the first failure."""
    # The shell would hear of our end only after the compiler's.
    script = f"trap 'kill -KILL 0' TERM\n{{ set -e\n{commands}\n:; }} & wait $!"
    command = ["setpriv", "--pdeathsig", "TERM", "sh", "-c", script]
    done = _run(command, {**_environment(), **recipe.exported()}, folder)
    return done.returncode, done.stdout


def _run(command: list[str], env: dict[str, str], folder: Path | None = None,
         seconds: int = BUILD_SECONDS) -> subprocess.CompletedProcess:  # fmt: skip
    """As subprocess.run(), but a make that is ended early takes its compilers with it."""
    process = subprocess.Popen(
        command, env=env, cwd=folder, text=True, errors="replace", start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=seconds)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise BuildFailed(f"the compiler did not end within {seconds} s") from None
        raise
    return subprocess.CompletedProcess(command, process.returncode, output)


def messages(output: str, place: Path, tree: Path) -> str:
    """What the compiler says about the code; it names the originals, not the copies."""
    lines = [line for line in output.splitlines() if not NOISE.match(line)]
    prefix = os.path.join(shown(tree), "") if tree != TREE else ""
    text = "\n".join(lines).replace(f"{place}/", prefix)
    return KERNEL_HEADERS.sub(r"\1", text).strip()


def build(
    stage: Stage, kernel: Kernel, tree: Path | None = None, options: Sequence[str] = ()
) -> Built:
    """Compiles the stage; a second call without a change costs nothing.

    With options, kbuild's variables, in a place of its own.
    """
    tree = tree or stage.tree
    place = place_of(kernel, tree, options)
    module = place / stage.folder / f"{stage.module}.ko"
    stripped = module.with_suffix(".stripped")
    stamp = module.with_suffix(".stamp")
    place.mkdir(parents=True, exist_ok=True)
    with cache.lock(f"build-{place.name}-{stage.name}"):
        sources = copy_sources(stage, tree, place)
        digest = cache.digest(*sources, kernel.release, str(kernel.kdir))
        if stamp.exists() and stamp.read_text() == digest and stripped.exists():
            return Built(module, stripped.read_bytes(), "")
        stamp.unlink(missing_ok=True)
        status, text = _compile(stage, kernel, place, tree, options)
        if status or not module.exists():
            raise BuildFailed(text or "kbuild failed without a message; V=1 shows its commands")
        # Notes are of no use in the VM, and for each the kernel makes two files in /sys.
        strip = ["strip", "--strip-debug", "--remove-section=.note.*"]
        subprocess.run([*strip, "-o", stripped, module], check=True)
        stamp.write_text(digest)
        return Built(module, stripped.read_bytes(), text)


def _compile(stage: Stage, kernel: Kernel, place: Path, tree: Path,
             options: Sequence[str]) -> tuple[int, str]:  # fmt: skip
    """By the recipe that was learned of kbuild, or by kbuild: exit status and messages."""
    usable = recipe.allowed(_environment())
    path = recipe.path_of(stage, _kernel_built(kernel), options)
    known = recipe.load(path, stage, kernel) if usable else None
    if known and known.steps:
        try:
            status, output = known.make(place, _shell)
            return status, messages(output, place, tree)
        except recipe.NeedsKbuild:
            pass
    status, text = _from_nothing(stage, kernel, place, tree, options)
    if not status and usable and not known:

        def same(output: str) -> bool:
            return messages(output, place, tree) == text

        if not recipe.learn(path, stage, kernel, place, _shell, same):
            return _from_nothing(stage, kernel, place, tree, options)
    return status, text


def _from_nothing(stage: Stage, kernel: Kernel, place: Path, tree: Path,
                  options: Sequence[str]) -> tuple[int, str]:  # fmt: skip
    recipe.start_afresh(stage, place)
    done = kbuild(stage, kernel, place, "-s", *options)
    return done.returncode, messages(done.stdout, place, tree)


def clean() -> None:
    shutil.rmtree(cache.root() / "build", ignore_errors=True)
