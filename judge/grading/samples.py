"""Made-up submissions: good ones, wrong ones, and hostile ones. What has to become of each.

None lies in the repository: each is made from the tree, where `make grade-check` grades
them. The hostile ones try to run something here, to read what is the host's, to use it up,
or to make a report lie. A new trick gets a line in the table.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Callable

from .. import zoo
from ..stages import TREE, Stage
from .judging import GRADED, NOT_GRADABLE
from .results import Grade

FULL, FAILS, NO_MODULE, REFUSED = "full marks", "fails", "does not compile", "refused"
# In the sandbox, files of ours that a submission may want to see.
SECRET = "/etc/passwd"
# A file that is there in each sandbox, as all of /usr is.
PUBLIC = "/usr/bin/env"


@dataclass(frozen=True)
class Ground:
    """Where samples are made, and for which stage."""

    folder: Path
    stage: Stage
    canary: Path  # a hostile sample tries to make this file

    @property
    def file(self) -> str:
        return PurePosixPath(self.stage.source).name

    @property
    def reference(self) -> bytes:
        return (TREE / self.stage.source).read_bytes()


@dataclass(frozen=True)
class Sample:
    """A submission: its name, how it is made, and what has to become of it."""

    name: str
    make: Callable[[Ground, Path], None]
    becomes: str
    word: str = ""  # stands in the reason, or is the test that fails
    without_sandbox: str = ""  # what becomes of it there, if something else
    with_landlock: str = ""
    small: bool = False  # of those that CI judges

    def wrong(self, grade: Grade, sandbox: str, judged: bool = True) -> str:
        """What is not as it has to be; '' if all is. Not judged: it was compiled only."""
        record = grade.record
        other = {"none": self.without_sandbox, "landlock": self.with_landlock}.get(sandbox, "")
        becomes = other or self.becomes
        if becomes == REFUSED:
            good = record.outcome == NOT_GRADABLE and bool(other or self.word in record.why)
        elif becomes == NO_MODULE:
            good = record.outcome == GRADED and not record.compiles and grade.score == 0
            good = good and self.word in record.kernels[0].messages
        elif becomes == FAILS:
            good = record.compiles and grade.score < grade.points
            good = good and bool(set(self.word.split()) & set(grade.failed))
        else:
            good = record.graded and record.compiles
            good = good and (grade.score == grade.points > 0 or not judged)
        got = f"{grade.summary}{' ' + ' '.join(grade.failed[:3]) if record.compiles else ''}"
        return "" if good else f"it has to be: {becomes} ({self.word}); it is: {got}"


# -- how they are made ------------------------------------------------------------------


def folder(extra: Callable[[Ground], dict[str, str | bytes]]) -> Callable:
    """A folder with these files."""

    def make(ground: Ground, at: Path) -> None:
        at.mkdir()
        for name, data in extra(ground).items():
            path = at / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data if isinstance(data, bytes) else data.encode())

    return make


def source(text: str | bytes, alone: bool = False) -> Callable:
    """The reference with this behind it, or this alone."""
    data = text if isinstance(text, bytes) else text.encode()
    return folder(lambda ground: {ground.file: data if alone else ground.reference + b"\n" + data})


def wrong(name: str) -> Callable:
    """A wrong driver out of the zoo."""
    variant = next(one for one in zoo.variants() if one.name == name)
    return folder(lambda ground: {ground.file: variant.source()})


def caught_by(name: str) -> str:
    return " ".join(next(one for one in zoo.variants() if one.name == name).caught_by)


def tar(members: Callable[[Ground], list[tuple[tarfile.TarInfo, bytes]]], mode: str = "w:gz"):
    def make(ground: Ground, at: Path) -> None:
        with tarfile.open(at, mode) as packed:
            for info, data in members(ground):
                info.size = len(data)
                packed.addfile(info, io.BytesIO(data))

    return make


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def packed(members: Callable[[Ground], dict[str, bytes]], modes: dict[str, int] | None = None):
    """A zip file."""

    def make(ground: Ground, at: Path) -> None:
        with zipfile.ZipFile(at, "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in members(ground).items():
                info = zipfile.ZipInfo(name)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
                file.writestr(info, data)

    return make


def encrypted(ground: Ground, at: Path) -> None:
    """Zip files mark it in each header by a bit; that is all that is needed to see it."""
    packed(lambda ground: {ground.file: ground.reference})(ground, at)
    data = bytearray(at.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + offset] |= 1
    at.write_bytes(data)


def bomb(ground: Ground, at: Path) -> None:
    """200 MB of zeros in 200 kB, before the source."""
    with gzip.open(at, "wb") as out:
        info = entry("zeros")
        info.size = 200 << 20
        out.write(info.tobuf())
        for _ in range(200):
            out.write(bytes(1 << 20))


def link(target: str) -> Callable:
    def make(ground: Ground, at: Path) -> None:
        at.mkdir()
        (at / ground.file).symlink_to(target)

    return make


def hard_link(ground: Ground, at: Path) -> None:
    at.mkdir()
    victim = ground.canary.parent / "somebody-elses.c"
    victim.write_bytes(ground.reference)
    os.link(victim, at / ground.file)


def pipe(ground: Ground, at: Path) -> None:
    at.mkdir()
    os.mkfifo(at / ground.file)


def huge(ground: Ground, at: Path) -> None:
    at.mkdir()
    with open(at / ground.file, "wb") as file:
        file.truncate(100 << 20)


def build_files(ground: Ground) -> dict[str, str | bytes]:
    """Everything that make, kbuild or the compiler would run, if it were taken along."""
    touch = f"$(shell touch {ground.canary})"
    return {
        ground.file: ground.reference, "Makefile": f"X := {touch}\nobj-m := x.o\n",
        "Kbuild": f"X := {touch}\n", "GNUmakefile": f"X := {touch}\n",
        f".{Path(ground.file).stem}.o.cmd": f"X := {touch}\n", ".gdbinit": "shell id\n",
        "kmsgpipe.h": "#error this must not be found\n", "specs": "*cc1:\n",
    }  # fmt: skip


def repository(ground: Ground) -> dict[str, str | bytes]:
    """A clone of the course with the student's work in it: that counts, not ours."""
    return {ground.stage.source: "not this one\n", f"work/{ground.stage.source}": ground.reference,
            "README.md": "my work\n"}  # fmt: skip


def ancient(ground: Ground) -> dict[str, str | bytes]:
    """From an editor on another system: line ends, a byte order mark, a name in Latin-1."""
    text = ground.reference.replace(b"\n", b"\r\n")
    return {ground.file: b"\xef\xbb\xbf" + text + b"/* Ren\xe9 */\r\n"}


def many(ground: Ground) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(entry(f"{number}"), b"") for number in range(20000)]


MACRO_BOMB = "#define A0 int x;\n" + "".join(
    f"#define A{n} A{n - 1} A{n - 1}\n" for n in range(1, 40)
) + "A39\n"  # fmt: skip
ESCAPES = "\x1b[2J\x1b[1;1H\x1b[32m  ok    100 of 100\x1b[0m"

SAMPLES = (
    # Good ones, in all the forms in which they come.
    Sample("reference", source(""), FULL, small=True),
    Sample("reference.tar.gz", tar(lambda g: [
        (entry("me/notes.txt"), b"hello\n"), (entry(f"me/{g.file}"), g.reference + b"\n"),
        (entry("me/link", tarfile.SYMTYPE, "/etc/shadow"), b"")]), FULL, small=True),
    Sample("reference.zip", packed(lambda g: {
        f"__MACOSX/._{g.file}": b"\0", f"lab\\{g.file}": g.reference + b"\n"}), FULL, small=True),
    Sample("reference.c", lambda g, at: at.write_bytes(g.reference + b"\n") and None, FULL),
    Sample("clone-with-work", folder(repository), FULL),
    Sample("from-another-system", folder(ancient), FULL),
    # Nothing, or something else.
    Sample("empty", folder(lambda g: {}), REFUSED, "it is empty", small=True),
    Sample("empty.zip", packed(lambda g: {}), REFUSED, "it is empty"),
    Sample("python", folder(lambda g: {"driver.py": "print('hello')\n"}), REFUSED, "driver.py"),
    Sample("python-called-c", source("import os\nos.system('id')\n", True), NO_MODULE, "error",
           small=True),
    Sample("empty-file", source("\n", True), REFUSED, "is empty"),
    Sample("two-versions", folder(lambda g: {f"old/{g.file}": "old\n", f"new/{g.file}": "new\n"}),
           REFUSED, "different content"),
    # What would run here.
    Sample("makefile-shell", folder(build_files), FULL, small=True),
    # What would be read here: links, and paths that lead out.
    Sample("link-to-shadow", link("/etc/shadow"), REFUSED, "is a link", small=True),
    Sample("hard-link", hard_link, REFUSED, "is a link"),
    Sample("named-pipe", pipe, REFUSED, "not a file"),
    Sample("dot-dot.tar", tar(lambda g: [(entry(f"../../{g.file}"), g.reference)], "w"),
           REFUSED, "leads out", small=True),
    Sample("absolute.tar.xz", tar(lambda g: [(entry(f"/tmp/{g.file}"), g.reference)], "w:xz"),
           REFUSED, "leads out"),
    Sample("link.tar.bz2", tar(lambda g: [(entry(g.file, tarfile.SYMTYPE, SECRET), b"")], "w:bz2"),
           REFUSED, "is a link"),
    Sample("device.tar", tar(lambda g: [(entry(g.file, tarfile.CHRTYPE), b"")], "w"),
           REFUSED, "not a file"),
    Sample("link.zip", packed(lambda g: {g.file: SECRET.encode()},
                              {"kmsgpipe_basic.c": stat.S_IFLNK | 0o777,
                               "kmsgpipe_wait.c": stat.S_IFLNK | 0o777}), REFUSED, "is a link"),
    Sample("encrypted.zip", encrypted, REFUSED, "encrypted"),
    Sample("zip-in.zip", packed(lambda g: {"inner.zip": b"PK\x05\x06" + bytes(18)}),
           REFUSED, "not opened"),
    # What the compiler would read here.
    Sample("include", source(f'#include "{SECRET}"\n'), REFUSED, f"opens {SECRET}", small=True),
    Sample("include-hidden", source(f'#define F "{SECRET}"\n%:inc\\\nlude/**/F\n'), REFUSED,
           "not written out"),
    Sample("incbin", source(f'asm(".incbin \\"{SECRET}\\"");\n'), REFUSED, "incbin"),
    Sample("incbin-hidden", source(f'asm(".inc" "bin \\"{PUBLIC}\\"");\n'), REFUSED, PUBLIC,
           without_sandbox=REFUSED, small=True),
    Sample("incbin-in-a-section", source(
        f'int x __attribute__((section(".data\\n.inc" "bin \\"{SECRET}\\"\\n#"))) = 1;\n'),
        NO_MODULE, "file not found", without_sandbox=REFUSED),
    Sample("shows-lines-of", source(f'# 1 "{SECRET}"\nint error here;\n'), REFUSED, SECRET,
           without_sandbox=REFUSED),
    Sample("asks-for-files", source(f'#if __has_include("{SECRET}")\n#error it is there\n#endif\n'),
           FULL, without_sandbox=REFUSED, with_landlock=REFUSED, small=True),
    # What would use the host up.
    Sample("bomb.tar.gz", bomb, REFUSED, "unpacks to more"),
    Sample("many.tar.gz", tar(many), REFUSED, "more than 5000 files"),
    Sample("huge-source", huge, REFUSED, "are the most"),
    Sample("macro-bomb", source(MACRO_BOMB), NO_MODULE, "was ended", small=True),
    Sample("include-bomb", lambda g, at: source(
        "#if __INCLUDE_LEVEL__ < 100\n" + f'#include "{g.file}"\n' * 2 + "#endif\n", True)(g, at),
        NO_MODULE, "was ended"),
    Sample("chatter", source("#warning is what the compiler repeats, with the line\n" * 4000),
           NO_MODULE, "said more than"),
    Sample("huge-module", source("char huge[1 << 30] = { 1 };\n"), NO_MODULE, "more than"),
    # What would make a report lie.
    Sample("nul-bytes", source("/* \0 */\n"), REFUSED, "NUL"),
    Sample("utf-16", source("\ufeff/* text */\n".encode("utf-16-le"), True), REFUSED, "UTF-16"),
    Sample(f"eve\n{ESCAPES}", source(""), FULL, small=True),
    Sample("=HYPERLINK(\"x\") <img src=x onerror=alert(1)>", source(f"#error {ESCAPES} <script>\n"),
           NO_MODULE, "<script>", small=True),
)  # fmt: skip

# Wrong drivers of the zoo that fail the same way each time, by stage.
WRONG = {
    "lab1": ("lab1/empty-write-clears",),
    "lab3": ("lab3/lifo", "lab3/write-nonblock-says-enospc", "lab3/poll-never-readable",
             "lab3/no-kfree-at-exit", "harness/error-from-init", "harness/oops-in-init",
             "harness/loops-in-init", "harness/prints-in-init", "harness/powers-off-in-write"),
}  # fmt: skip


def of(stage: Stage, small: bool) -> list[Sample]:
    """The class of this stage."""
    found = [one for one in SAMPLES if one.small or not small]
    found += [Sample(name.replace("/", "-"), wrong(name), FAILS, caught_by(name))
              for name in WRONG[stage.name]]  # fmt: skip
    return found
