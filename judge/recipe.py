"""kbuild's own commands, learned from one of its runs and repeated without it.

One file of a student's changes, and kbuild spends four times as long on reading its makefiles
and asking the compiler what it can do as the compiler spends on the file. What it found out
stands in the .cmd files that it leaves: the very commands. They are repeated here, in their
order, from the same folder. Only what can have changed is made again; modpost always runs.

Nothing is taken on trust. A recipe is kept only if, right after kbuild, it has made the same
module from the same source, byte by byte, and the same messages. It is for one kernel, one
Makefile, one set of options, and the very compiler and tools of that day; and it is not used
where the environment could tell kbuild something, or the module exports symbols.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Mapping, Sequence

from . import arch, cache
from .kernel import Kernel
from .stages import TREE, Stage

# Stands for the folder that the sources were copied to: another one for each tree.
PLACE = "%PLACE%"
COMMAND = re.compile(r"^(?:saved)?cmd_(\S+) := (.*)$", re.M)
SOURCE = re.compile(r"^source_\S+ := (\S+)$", re.M)
# How kbuild writes what is special to make.
ESCAPED = re.compile(r"\$\$|\$\(pound\)")
# modpost reads of this what a module's source consists of (srcversion).
FIXDEP = "scripts/basic/fixdep"
# What kbuild, or the compiler, heeds of the environment.
HEEDED = re.compile(
    r"(KBUILD_|LLVM|CROSS_COMPILE|(SUB|SRC)?ARCH$|[A-Z]*(FLAGS|CPPFLAGS)(_|$)|(HOST)?(CC|LD|AS)$"
    r"|(NM|AR|STRIP|OBJCOPY|PAHOLE|SOURCE_DATE_EPOCH)$|GCC_|C_INCLUDE_PATH|CPATH)"
)
# With versions of symbols, one that is exported takes more commands than the .cmd files tell.
EXPORTS = (b"__ksymtab", b"__export_symbol")

# The order: what is linked and listed, compiled, linked to one object, checked, described.
LISTED, COMPILED, LINKED, CHECKED, DESCRIBED, MODULE = range(6)

Shell = Callable[[str, Path], "tuple[int, str]"]


class Unlearnable(Exception):
    """kbuild did something that this does not know how to repeat."""


class NeedsKbuild(Exception):
    """This source takes more than the recipe has."""


@dataclass(frozen=True)
class Step:
    kind: int
    output: str
    command: str
    source: str = ""  # what is compiled

    @property
    def ours(self) -> bool:
        """Its input is the student's, or made of that."""
        return self.kind in (LINKED, CHECKED, MODULE) or (
            self.kind == COMPILED and self.source.startswith(PLACE)
        )


def _kind(output: str, source: str) -> int:
    name = os.path.basename(output)
    if name.endswith(".mod") or name == "modules.order":
        return LISTED
    if name == "Module.symvers":
        return CHECKED
    if name.endswith(".mod.o"):
        return DESCRIBED
    if name.endswith(".ko"):
        return MODULE
    if name.endswith(".o"):
        return COMPILED if source else LINKED
    raise Unlearnable(name)


def parse(text: str, place: Path) -> Step:
    """One .cmd file."""
    match = COMMAND.search(text)
    if not match:
        raise Unlearnable("a .cmd file without a command")
    plain = ESCAPED.sub(lambda found: "$" if found[0] == "$$" else "#", match[2])
    source = SOURCE.search(text)
    output, command, origin = (
        word.strip().replace(str(place), PLACE)
        for word in (match[1], plain, source[1] if source else "")
    )
    kind = _kind(output, origin)
    if origin:
        command = f"{command}\n{_write_down(output, command)}"
    return Step(kind, output, command.strip(), origin)


def _write_down(output: str, command: str) -> str:
    """What kbuild does after compiling: the list of what was read, beside the object."""
    folder, name = os.path.split(output)
    listed, kept = f"{folder}/.{name}.d", f"{folder}/.{name}.cmd"
    words = shlex.join([FIXDEP, listed, output, command])
    return f"{words} > {shlex.quote(kept)}; rm -f {shlex.quote(listed)}"


def _tools(steps: Sequence[Step], kdir: Path) -> dict[str, str]:
    """The programs that the commands call, and which ones these are."""
    names = {word for step in steps for part in re.split(r"[;|\n]", step.command)
             if (word := next(iter(part.split()), ""))
             and re.fullmatch(r"[\w./+-]+", word)}  # fmt: skip
    return {name: _identity(name, kdir) for name in sorted(names)}


def _identity(name: str, kdir: Path) -> str:
    path = str(kdir / name) if "/" in name else shutil.which(name)
    try:
        path = os.path.realpath(path or name)
        status = os.stat(path)
    except OSError:
        return ""
    return f"{path} {status.st_size} {status.st_mtime_ns}"


def exported() -> dict[str, str]:
    """What kbuild tells its commands by the environment: Debian 13 has an objtool that asks."""
    return {"SRCARCH": arch.host().source}


def allowed(environment: Mapping[str, str]) -> bool:
    return not any(HEEDED.match(name) for name in environment)


def path_of(stage: Stage, kernel: Sequence[str], options: Sequence[str]) -> Path:
    """Where the recipe is kept; kernel: what tells one build of a kernel from another."""
    told = [f"{name}={value}" for name, value in exported().items()]
    makefile = TREE / stage.folder / "Makefile"
    key = cache.digest(*kernel, stage.folder, makefile, *told, *options)
    return cache.root() / "build" / f"recipe-{key}.json"


class Recipe:
    """How to make one stage's module in whatever place."""

    def __init__(self, steps: Sequence[Step], stage: Stage, kernel: Kernel):
        self.steps = sorted(steps, key=lambda step: step.kind)
        self.tools = _tools(steps, kernel.kdir)
        self.stage = stage
        self.kernel = kernel

    def make(self, place: Path, shell: Shell) -> tuple[int, str]:
        """The commands' exit status and output; NeedsKbuild if this source is not for it."""
        status, said = self._run((LISTED, COMPILED, LINKED, CHECKED), place, shell)
        if not status and self._exports(place):
            start_afresh(self.stage, place)
            raise NeedsKbuild
        if not status:  # only now is it known whether the description is another one
            status, more = self._run((DESCRIBED, MODULE), place, shell)
            said += more
        if status:
            start_afresh(self.stage, place)
        return status, said

    def _run(self, kinds: Sequence[int], place: Path, shell: Shell) -> tuple[int, str]:
        due = [step for step in self.steps if step.kind in kinds and self._due(step, place)]
        for step in due:  # an output that is cut short has no note
            self._note(step, place).unlink(missing_ok=True)
        commands = "\n".join(step.command for step in due).replace(PLACE, str(place))
        status, output = shell(commands, self.kernel.kdir)
        for step in due if not status else ():
            if not step.ours:
                self._note(step, place).write_text(self._made_of(step, place))
        return status, output

    def _due(self, step: Step, place: Path) -> bool:
        if step.ours or not _in(place, step.output).exists():
            return True
        note = self._note(step, place)
        return not note.exists() or note.read_text() != self._made_of(step, place)

    def _made_of(self, step: Step, place: Path) -> str:
        """What is seldom made anew, such as the description: of its imports, and by whom."""
        source = self.kernel.kdir / _in(place, step.source) if step.source else ""
        return cache.digest(source, step.command, json.dumps(self.tools))

    def _note(self, step: Step, place: Path) -> Path:
        return _in(place, f"{step.output}.of")

    def _exports(self, place: Path) -> bool:
        compiled = (step for step in self.steps if step.kind == COMPILED and step.ours)
        texts = (_in(place, step.output).read_bytes() for step in compiled)
        return any(word in text for text in texts for word in EXPORTS)


def _in(place: Path, name: str) -> Path:
    return Path(name.replace(PLACE, str(place)))


def start_afresh(stage: Stage, place: Path) -> None:
    """Only the sources stay: what was made otherwise than by kbuild is not for kbuild's make."""
    kept = {"Makefile", *(os.path.basename(name) for name in stage.sources)}
    for path in (place / stage.folder).iterdir():
        if path.name not in kept and not path.is_dir():
            path.unlink()


def load(path: Path, stage: Stage, kernel: Kernel) -> Recipe | None:
    """The recipe, if its tools are still those that it was learned with.

    One without steps says that it is of no use to learn it again.
    """
    try:
        text = json.loads(path.read_text())
        steps = [Step(**step) for step in text["steps"]]
        recipe = Recipe(steps, stage, kernel)
        return recipe if recipe.tools == text["tools"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def learn(path: Path, stage: Stage, kernel: Kernel, place: Path, shell: Shell,
          said: Callable[[str], bool]) -> bool:  # fmt: skip
    """Right after kbuild has made a module in place: keeps how, if that makes it once more.

    said: has kbuild said the same as this? False if the place is not as kbuild had left it.
    """
    module = place / stage.folder / f"{stage.module}.ko"
    wanted = module.read_bytes() if module.exists() else b""
    recipe, intact = Recipe(_steps(stage, place), stage, kernel), True
    if recipe.steps:
        start_afresh(stage, place)
        try:
            status, output = recipe.make(place, shell)
            intact = not status and said(output) and module.read_bytes() == wanted
        except NeedsKbuild:
            return False
    kept = recipe if intact else Recipe([], stage, kernel)
    text = {"steps": [vars(step) for step in kept.steps], "tools": kept.tools}
    cache.write_atomic(path, json.dumps(text, indent=1))
    return intact


def _steps(stage: Stage, place: Path) -> list[Step]:
    """What kbuild has written down; none if that is not all that there is to do."""
    files = sorted((place / stage.folder).glob(".*.cmd"))
    try:
        steps = [parse(file.read_text(), place) for file in files]
    except Unlearnable:
        return []
    kinds = {step.kind for step in steps}
    return steps if kinds >= {COMPILED, CHECKED, DESCRIBED, MODULE} else []
