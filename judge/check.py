"""The static review: checkpatch.pl --strict, kbuild with W=1, and sparse.

A review that misses something is worse than none, so what these tools print is
sorted the other way round: a line counts as a finding unless it is known to be
none. And each tool has to show that it really looked at the file.

The code is always compiled anew, in a folder of its own: an object file that is
still good makes no compiler speak, and the warnings of yesterday would be gone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Iterable, Sequence

from . import arch, cache, image, width
from .build import BuildFailed, copy_sources, kbuild
from .errors import CannotTest
from .checkpatch import find as find_checkpatch
from .kernel import Kernel
from .stages import TREE, Stage, shown

# The kernel's own limit since 5.7.
COLUMNS = 100

# Types of checkpatch.pl that make no sense for code that is not in the kernel.
# For the drivers and their headers there is none: they have to be fit for the tree.
NOT_FOR_USERLAND = {
    "LEADING_SPACE": "the harness's TEST(name, .says = ...) is aligned behind its parenthesis",
    "ARRAY_SIZE": "a macro of the kernel's headers",
    "PREFER_DEFINED_ATTRIBUTE_MACRO": "__printf(), __noreturn... are macros of the kernel's headers",
    "PREFER_KERNEL_TYPES": "u32 is the kernel's type, uint32_t is C's",
    "PREFER_FALLTHROUGH": "a macro of the kernel's headers",
    "EMBEDDED_FUNCTION_NAME": "meant for pr_debug(); here \"usage: ...\" in usage() is hit",
    "VOLATILE": "the advice is about kernel locking; here processes share memory",
    "NEW_TYPEDEFS": "C's own interfaces (signal handlers, comparators) need some",
    "ENOSYS": "any system call may give it",
    "CONSIDER_KSTRTO": "kstrto*() is in the kernel only",
    "SSCANF_TO_KSTRTO": "kstrto*() is in the kernel only",
    "STRCPY": "strscpy() is in the kernel only",
    "STRLCPY": "strscpy() is in the kernel only",
    "STRNCPY": "strscpy() is in the kernel only",
    "USLEEP_RANGE": "usleep_range() is in the kernel only",
    "MSLEEP": "about the kernel's timers",
    "PREFER_PR_LEVEL": "pr_*() is in the kernel only",
}
# Of the modules in judge/reports: each has a bug, and some bugs are of bad style.
NOT_FOR_REPORTS = {
    "AVOID_BUG": "one provokes the report of BUG()",
    "STRCPY": "one provokes the report of a string that is too long",
}
USERLAND = ("guest/*.[ch]", "userland/**/*.[ch]")

# What kbuild says that is about its progress only.
PROGRESS = re.compile(
    r"^(make(\[\d+\])?: (Entering|Leaving|Nothing to be done|\*\*\*)"
    r"|  [A-Z]+ (\[M\])? *\S+$"
    r"|Skipping BTF generation|\+ "
    r"|warning: the compiler differs|  The kernel was built by:|  You are using:"
    r"|cc1: (some|all) warnings being treated as errors"
    r"|cc1: note: unrecognized command-line option|compilation terminated\.$|\s*$)"
)
LOCATED = re.compile(r"^(?P<file>[^\s:][^:]*):(?P<line>\d+):(?:\d+:)? ?(?P<text>\s*\S.*)$")
INLINED = re.compile(r"^ +inlined from .* at (?P<file>[^\s:][^:]*):(?P<line>\d+)")
# How the compiler leads up to a message, which follows.
LEAD = re.compile(
    r"^(In file included from |In (static |inline )*(function|member)|  +from |  +inlined from "
    r"|[^\s:][^:]*: (In function |At top level|note: in included file))"
)
IN_MACRO = re.compile(r"note: in (expansion|definition) of macro")
CHECKPATCH = re.compile(
    r"^(?P<file>[^\s:][^:]*):(?P<line>\d+): (?:ERROR|WARNING|CHECK):(?P<type>\w+): (?P<text>.*)$"
)


@dataclass(frozen=True, order=True)
class Finding:
    """Something that a tool has to say about a file of the tree."""

    file: str
    line: int
    tool: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.tool}: {self.text}"


@dataclass
class Review:
    """What came of one stage, and how much was about the kernel's own files."""

    findings: list[Finding] = field(default_factory=list)
    ignored: int = 0

    def add(self, other: "Review") -> "Review":
        self.findings = sorted({*self.findings, *other.findings})
        self.ignored += other.ignored
        return self


# -- the compiler and sparse ------------------------------------------------------------


@dataclass
class _Message:
    file: str
    line: int
    text: str


def _messages(output: str, ours) -> tuple[list[_Message], list[str]]:
    """Messages with their place, each at a line of the tree if it names one; and the rest."""
    messages: list[_Message] = []
    rest: list[str] = []
    via: tuple[str, int] | None = None
    for row in output.splitlines():
        match = LOCATED.match(row)
        inlined = INLINED.match(row)
        if inlined:
            via = via or (ours(inlined["file"]) and (inlined["file"], int(inlined["line"]))) or None
        elif LEAD.match(row) or PROGRESS.match(row):
            continue
        elif not match:
            rest.append(row.strip())
        elif match["text"].startswith("   "):  # sparse: "   expected ...", "   got ..."
            if messages:
                messages[-1].text += "; " + " ".join(match["text"].split())
            else:
                rest.append(row.strip())
        elif match["text"].startswith("note: "):
            # A macro of the kernel complains, but the tree's code has used it.
            if messages and IN_MACRO.match(match["text"]) and not ours(messages[-1].file):
                messages[-1].file, messages[-1].line = match["file"], int(match["line"])
        else:
            place = match["file"], int(match["line"])
            # The same for an inline function of the kernel, when a caller is named.
            file, line = via if via and not ours(place[0]) else place
            messages.append(_Message(file, line, match["text"]))
            via = None
    return messages, rest


def sort_output(output: str, tool: str, place: Path, stage: Stage, failed: bool) -> Review:
    """What kbuild printed, as findings. If it failed, there is at least one."""

    def ours(name: str) -> str:
        # Kernels from 6.13 on name files from the module's folder on.
        for base in (place, place / stage.folder):
            path = os.path.normpath(base / name)
            if path.startswith(f"{place}/") and os.path.isfile(path):
                return os.path.relpath(path, place)
        return ""

    review = Review()
    messages, rest = _messages(output, ours)
    for message in messages:
        file = ours(message.file)
        text = message.text.removeprefix("warning: ")
        if file:
            review.findings.append(Finding(file, message.line, tool, text))
        elif "error:" in message.text:
            # The kernel compiles by itself, so this is the tree's doing.
            text = f"{os.path.basename(message.file)}:{message.line}: {text}"
            review.findings.append(Finding(stage.source, 0, tool, text))
        else:
            review.ignored += 1
    for row in rest:
        review.findings.append(Finding(stage.source, 0, tool, row.replace(f"{place}/", "")))
    if failed and not review.findings:
        last = output.strip().splitlines()[-1:] or ["it failed and said nothing"]
        review.findings.append(Finding(stage.source, 0, tool, last[0].replace(f"{place}/", "")))
    return review


# In this form each message has one line, and names the place where a macro is used.
PLAIN = "KCFLAGS=-fno-diagnostics-show-caret -ftrack-macro-expansion=0 -fdiagnostics-color=never"


def _kbuild(stage: Stage, kernel: Kernel, place: Path, *extra: str) -> subprocess.CompletedProcess:
    try:
        return kbuild(stage, kernel, place, PLAIN, *extra)
    except BuildFailed as failed:
        raise CannotTest(f"{stage.name}: {failed}") from None


def compile_review(stage: Stage, kernel: Kernel, place: Path) -> Review:
    """W=1 first, then sparse on what compiled: so each line is known to be whose."""
    built = _kbuild(stage, kernel, place, "W=1")
    review = sort_output(built.stdout, "W=1", place, stage, bool(built.returncode))
    if not (place / stage.folder / f"{stage.module}.ko").is_file():
        if not review.findings:
            review.findings.append(Finding(stage.source, 0, "W=1", "kbuild made no module of it"))
        return review
    sparse = _kbuild(stage, kernel, place, "W=1", "C=2", "CHECK=sparse")
    if not re.search(rf"^  CHECK +\S*{Path(stage.source).stem}\.c$", sparse.stdout, re.M):
        raise CannotTest(f"{stage.name}: kbuild did not run sparse on {stage.source}:\n"
                         + sparse.stdout.strip()[-500:])  # fmt: skip
    return review.add(sort_output(sparse.stdout, "sparse", place, stage, bool(sparse.returncode)))


# -- checkpatch.pl ----------------------------------------------------------------------


def checkpatch(place: Path, names: Sequence[str], ignore: Iterable[str] = ()) -> Review:
    """Style, of files below place."""
    review = Review()
    if not names:
        return review
    script = find_checkpatch()
    # It reads .checkpatch.conf in $HOME and in the current folder, and spares the
    # camel case that it finds in include/: so it runs in an empty folder.
    with tempfile.TemporaryDirectory(dir=place, prefix="checkpatch-") as empty:
        os.mkdir(f"{empty}/include")
        command = ["perl", str(script), "--strict", "--no-tree", f"--root={empty}",
                   "--no-summary", "--terse", "--show-types", "--color=never",
                   f"--max-line-length={COLUMNS}"]  # fmt: skip
        if ignore:
            command.append("--ignore=" + ",".join(sorted(ignore)))
        for name in names:
            done = subprocess.run(
                [*command, "-f", str(place / name)], cwd=empty, text=True, errors="replace",
                env={"PATH": os.environ.get("PATH", os.defpath), "HOME": empty, "LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            review.add(sort_checkpatch(done.stdout, done.returncode, place, name))
    return review


def sort_checkpatch(output: str, status: int, place: Path, name: str) -> Review:
    """What checkpatch.pl printed about one file, as findings."""
    review = Review()
    other = []
    for row in output.splitlines():
        match = CHECKPATCH.match(row)
        if match and match["file"] == str(place / name):
            text = f"{match['text']} [{match['type']}]"
            review.findings.append(Finding(name, int(match["line"]), "checkpatch", text))
        elif row.strip():
            other.append(row.strip())
    # Its status: 0 nothing to say, 1 findings, anything else it did not get through.
    if status not in (0, 1) or bool(status) != bool(review.findings) or other:
        said = "\n".join(other[:5]) or "it said nothing"
        raise CannotTest(f"checkpatch.pl could not review {name} (status {status}):\n{said}")
    return review


# -- what is reviewed -------------------------------------------------------------------


def _fresh(name: str) -> Path:
    place = cache.root() / "check" / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place


def stage(stage: Stage, kernel: Kernel, tree: Path | None = None) -> Review:
    """One stage, and the headers of include/ as far as it uses them."""
    tree = tree or stage.tree
    with cache.lock(f"check-{stage.name}"):
        place = _fresh(stage.name)
        copy_sources(stage, tree, place)
        own = sorted(str(path.relative_to(place)) for path in place.glob(f"{stage.folder}/*.[ch]"))
        review = checkpatch(place, own).add(compile_review(stage, kernel, place))
    if tree != TREE:
        named = [replace(row, file=shown(tree / row.file)) for row in review.findings]
        review = Review(named, review.ignored)
    return review


def headers(tree: Path = TREE) -> Review:
    """Style of what is included only; the compiler sees it with a stage, or with a kernel."""
    with cache.lock("check-include"):
        return _copied("include", tree, ["include/*.h", "judge/configs/first/*.h"])


def _copied(label: str, tree: Path, patterns: Sequence[str], ignore: Iterable[str] = ()) -> Review:
    place = _fresh(label)
    names = sorted(str(path.relative_to(tree)) for p in patterns for path in tree.glob(p))
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tree / name, place / name)
    return checkpatch(place, names, ignore)


def reports(tree: Path = TREE) -> Review:
    """Style of the modules that provoke kernel reports; `make reports` compiles them."""
    with cache.lock("check-reports"):
        return _copied("reports", tree, ["judge/reports/*.[ch]"], NOT_FOR_REPORTS)


def userland(tree: Path = TREE) -> Review:
    """The programs of the VM: the compiler's warnings, and style where it is not the kernel's."""
    with cache.lock("check-userland"):
        review = _copied("userland", tree, USERLAND, NOT_FOR_USERLAND)
    narrow = _flags_of_32_bits()
    for pattern in USERLAND:
        for path in sorted(tree.glob(pattern)):
            if path.suffix == ".c":
                review.add(_compile(path, tree))
                if narrow and path.parent.name == "tests":
                    review.add(_compile(path, tree, narrow))
    return review


def _flags_of_32_bits() -> list[str]:
    try:
        return width.flags(arch.host())
    except width.Unavailable as unavailable:
        print(f"userland: not compiled for 32 bits; {unavailable}")
        return []


def _compile(path: Path, tree: Path, flags: Sequence[str] = ()) -> Review:
    """A finding for each warning of gcc about one program's file."""
    name = str(path.relative_to(tree))
    done = subprocess.run(
        ["gcc", *image.CFLAGS, *flags, "-Werror", "-fno-diagnostics-show-caret", "-c", name,
         "-o", os.devnull],
        cwd=tree, text=True, errors="replace", env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    review = Review()
    messages, rest = _messages(done.stdout, lambda file: (tree / file).is_file())
    for message in messages:
        file = os.path.relpath(os.path.normpath(tree / message.file), tree)
        review.findings.append(Finding(file, message.line, "gcc", message.text))
    if done.returncode and not review.findings:
        review.findings.append(Finding(name, 0, "gcc", " ".join(rest) or "gcc failed"))
    return review
