"""The lab kernels: built here, small, and with checks that no stock kernel has.

`make kernel KERNEL=debug` configures one by the fragments in judge/configs/ and builds it
in a folder of the cache. All share one source tree. A later call builds only what a
changed fragment has changed, and one that was interrupted goes on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, TextIO

from . import arch, cache, kernelsource, progress, tools, tree
from .errors import CannotTest, UsageError
from .kernelsource import Source
from .tree import Kernel

CONFIGS = Path(__file__).parent / "configs"
# Headers that one file of the kernel includes before all others. They say what for.
FIRST = CONFIGS / "first"


@dataclass(frozen=True)
class Lab:
    """One kernel that can be built."""

    name: str
    fragments: tuple[str, ...]  # files of judge/configs/, without .config
    says: str
    steps: int  # about how many lines kbuild prints on the way
    disk: int  # bytes that its folder takes
    make: tuple[str, ...] = ()  # what only kbuild's own variables can say
    watched: tuple[str, ...] = ()  # objects that KASAN watches; none: all of the kernel
    flags: tuple[tuple[str, str], ...] = ()  # of an object, for the compiler

    @property
    def variables(self) -> list[str]:
        """kbuild's, on its command line."""
        watch = ["KASAN_SANITIZE=n"] if self.watched else []
        watch += [f"KASAN_SANITIZE_{name}.o=y" for name in self.watched]
        flags = [f"CFLAGS_{name}.o={flags}" for name, flags in self.flags]
        return [*arch.host().lab_make, *self.make, *watch, *flags]


# What a driver hands its memory to, by the kernel's object files: who follows a pointer into a
# freed message there is the driver's fault. KASAN watches these and the modules; the rest of the
# kernel keeps to itself, and watching that too makes each test three times as long.
WATCHED = (
    "build_utility",  # kernel/sched: wait queues and completions
    "mutex", "rwsem", "semaphore", "spinlock", "spinlock_debug",
    "timer", "hrtimer", "workqueue", "kthread", "softirq", "irq_work", "notifier", "srcutree",
    "list_debug", "list_sort", "llist", "rbtree", "xarray", "idr", "kfifo", "refcount", "sort",
    "char_dev", "misc", "class", "kobject", "params",
    "select", "eventpoll", "fcntl", "seq_file",
    "usercopy", "iov_iter", "strncpy_from_user", "util",
    "string", "string_helpers", "vsprintf", "kasprintf", "kstrtox", "hexdump",
)  # fmt: skip

# A call and its return cost an emulated processor more than most of what is called. So what each
# lock, each allocation and each stack trace goes through is inlined more. And a scan for lost
# memory reads half as much: see the headers.
FLAGS = {
    **dict.fromkeys(("lockdep", "debugobjects", "slub", "unwind_frame", "extable"), "-O3"),
    "kmemleak": "-O3 -include first/kmemleak.h",
    # Not the architecture's file of that name.
    "stacktrace": "-O3 $(if $(filter kernel,$(obj)),-include first/stacktrace.h)",
    "kasan_init_64": "-include first/kasan_init_64.h",
    # Instead of what the kernel's Makefile has for it, which is the first word.
    "stackdepot": "-fno-builtin -O3 -include first/stackdepot.h",
}

LABS = {
    lab.name: lab
    for lab in (
        Lab("base", ("base",), "is small and checks nothing", 1500, 600 * cache.MB),
        Lab("debug", ("base", "debug"), "reports bugs of memory and locking", 1600, 900 * cache.MB,
            watched=WATCHED, flags=tuple(FLAGS.items())),
        # Modules are watched, the kernel itself is not: see race.config.
        Lab("race", ("base", "race"), "reports data races", 1500, 600 * cache.MB,
            make=("KCSAN_SANITIZE=n",)),  # fmt: skip
    )
}
DEFAULT = "debug"
# Of our own make, or of the user's environment: nothing for the kernel's.
NOT_FOR_KBUILD = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "KERNEL", "SOURCE", "V", "W", "C", "M", "O",
                  "ARCH", "KBUILD_OUTPUT", "KCONFIG_CONFIG")  # fmt: skip
# An option that is set, or "# ... is not set".
OPTION = re.compile(r"^(?:# )?(CONFIG_\w+)(?:=(.*)| is not set)$", re.M)
STEP = re.compile(r"^  [A-Z][A-Z0-9_+ ]*\s+(\S+)")
# What kbuild and the compiler say when something is wrong with the source.
TROUBLE = re.compile(r"\b(fatal error|error|Error|undefined reference)\b")
FULL = ("No space left on device", "Disk quota exceeded")


def folder(name: str) -> Path:
    return cache.root() / f"lab-{name}"


def _note(name: str) -> Path:
    """Is there as long as the kernel is whole."""
    return folder(name) / "built.json"


def built(name: str) -> dict[str, str]:
    """What is known of the kernel that was built: version, origin, config; {} if there is none."""
    try:
        return dict(json.loads(_note(name).read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def known(name: str) -> Kernel | None:
    """The lab kernel, if it is built."""
    note = built(name)
    try:
        # Not tree.load(): it looks into the image, which costs more than all the rest here.
        config = tree.read_config(folder(name))
        release = tree.read_release(folder(name))
        image = folder(name) / "vmlinux"
        if not note or not config or not image.stat().st_size:
            return None
        return Kernel(f"Linux {note['version']} ({name})", release, folder(name), image, config)
    except (OSError, CannotTest):
        return None


def find(name: str) -> Kernel:
    """The lab kernel; CannotTest says how to get it."""
    kernel = known(name)
    if not kernel:
        raise CannotTest(f"KERNEL={name} is not built yet: make kernel KERNEL={name}")
    if built(name).get("config") != _digest(name):
        print(
            f"KERNEL={name} was built with another config; to renew it: make kernel KERNEL={name}"
        )
    return kernel


# -- the config -------------------------------------------------------------------------


def config_text(name: str) -> str:
    """All fragments of a lab kernel in one, with what its name and the machine add."""
    parts = [(CONFIGS / f"{fragment}.config").read_text() for fragment in LABS[name].fragments]
    parts.append("\n".join(arch.host().lab_options))
    # So that `uname -r` tells lab kernels apart, and no module is loaded into another one.
    parts.append(f'CONFIG_LOCALVERSION="-{name}"\n')
    return "\n".join(parts)


def _digest(name: str) -> str:
    return cache.digest(config_text(name), *LABS[name].variables, *_headers(LABS[name]))


def _headers(lab: Lab) -> list[Path]:
    return sorted(FIRST.glob("*.h")) if lab.flags else []


def lacking(asked: str, got: str) -> list[str]:
    """The options that a .config does not have as they were asked for."""
    have = tree.parse_config(got)
    wanted = {option: value.strip('"') for option, value in OPTION.findall(asked)}
    return [option for option, value in wanted.items() if have.get(option, "") != value]


# -- building it ------------------------------------------------------------------------


def verb() -> int:
    """`make kernel`: builds one of them."""
    name = os.environ.get("KERNEL") or DEFAULT
    if name not in LABS:
        says = ", ".join(f"{lab.name} ({lab.says})" for lab in LABS.values())
        raise UsageError(f"make kernel builds a kernel of the course: KERNEL={says}; not {name}")
    tools.require("kernel")
    spec = os.environ.get("SOURCE", "")
    try:
        build(LABS[name], spec)
    except KeyboardInterrupt:
        print(
            f"\nWhat is there is kept: `make kernel KERNEL={name}` goes on from here.", flush=True
        )
        raise
    print(f"To judge with it: make lab5 test KERNEL={name}")
    return 0


def build(lab: Lab, spec: str) -> None:
    with cache.lock(f"lab-{lab.name}"):
        source = kernelsource.get(spec)
        into = folder(lab.name)
        note = {"config": _digest(lab.name), "tree": str(source.tree), "version": source.version,
                "origin": source.origin}  # fmt: skip
        # A tree of the user's may have changed since; one in the cache never does.
        ours = source.tree.parent == cache.root()
        if ours and known(lab.name) and built(lab.name) == note:
            print(f"The {lab.name} kernel is built: Linux {source.version} from {source.origin}.")
            return
        print(f"building the {lab.name} kernel, which {lab.says}: Linux {source.version} "
              f"from {source.origin}", flush=True)  # fmt: skip
        start = time.monotonic()
        if not into.exists():
            cache.check_space(lab.disk)
        into.mkdir(exist_ok=True)
        _note(lab.name).unlink(missing_ok=True)
        _configure(lab, source, into)
        _make(lab, source, into, "vmlinux", "modules")
        if gone := _no_objects(lab, into):
            print(f"Linux {source.version} has no {', '.join(gone)}: nothing is watched there")
        _drop_sources()
        cache.write_atomic(_note(lab.name), json.dumps(note, indent=1) + "\n")
        minutes = (time.monotonic() - start) / 60
        print(f"The {lab.name} kernel is built ({minutes:.1f} min).")


def _configure(lab: Lab, source: Source, into: Path) -> None:
    asked = config_text(lab.name)
    cache.write_atomic(into / "fragments.config", asked)
    # In the folder that the compiler runs in: what is built is the same, wherever we are.
    (into / FIRST.name).mkdir(exist_ok=True)
    for header in _headers(lab):
        # A newer file would be compiled again.
        copy = into / FIRST.name / header.name
        if not copy.exists() or copy.read_bytes() != header.read_bytes():
            shutil.copyfile(header, copy)
    _make(lab, source, into, f"KCONFIG_ALLCONFIG={into}/fragments.config", "allnoconfig")
    gone = lacking(asked, (into / ".config").read_text())
    if gone:
        print(f"Linux {source.version} does not have, or not this way: {', '.join(gone)}")


def _no_objects(lab: Lab, into: Path) -> list[str]:
    """Objects that were to be watched, and that this kernel is not made of: another version's."""
    objects = {path.name for path in into.rglob("*.o")} if lab.watched else set()
    return [f"{name}.o" for name in lab.watched if f"{name}.o" not in objects]


def _drop_sources() -> None:
    """Source trees in the cache that no lab kernel is built from any more."""
    now = kernelsource.known()
    used = {os.path.realpath(folder(name) / "source") for name in LABS}
    for old in cache.root().glob("linux-*"):
        if str(old) not in used and not (now and old == now.tree):
            cache.remove(old)


def _make(lab: Lab, source: Source, into: Path, *goals: str) -> None:
    """One call of the kernel's make, its thousand lines in a log file."""
    # It ends with us, and tidies up when it does.
    command = ["setpriv", "--pdeathsig", "TERM", "make", f"-j{len(os.sched_getaffinity(0))}"]
    command += ["-C", str(source.tree), f"O={into}", "LOCALVERSION="]
    command += [*lab.variables, *goals]
    env = {k: v for k, v in os.environ.items() if k not in NOT_FOR_KBUILD}
    log = into / "build.log"
    try:
        with log.open("w") as out, subprocess.Popen(
            command, env={**env, "LC_ALL": "C"}, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as make:  # fmt: skip
            try:
                _follow(make.stdout, out, lab.steps)
            except BaseException:
                make.terminate()
                make.wait()
                raise
    finally:
        progress.show("")
    if make.returncode:
        raise _failure(lab, log)


def _follow(output: Iterable[str], log: TextIO, expected: int) -> None:
    """Keeps what make says, and shows how far it is."""
    steps = 0
    for line in output:
        log.write(line)
        step = STEP.match(line)
        if step:
            steps += 1
            progress.show(f"  {steps} of about {max(steps, expected)}: {step[1]}")


def _failure(lab: Lab, log: Path) -> CannotTest:
    """Why the build failed, in one line out of many."""
    lines = log.read_text(errors="replace").splitlines()
    if any(words in line for line in lines for words in FULL):
        return cache.disk_full(lab.disk)
    ours = [line for line in lines if not line.startswith("make")]
    why = next((line for line in ours if TROUBLE.search(line)), (ours or ["no reason given"])[-1])
    return CannotTest(
        f"the {lab.name} kernel does not build: {why.strip()} (all it said: {log}). "
        f"When that is mended, `make kernel KERNEL={lab.name}` goes on from there"
    )
