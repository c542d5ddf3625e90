"""The kernel's log: which test a line belongs to, and what a report in it means.

The console is watched from outside the VM. The test runner writes a mark into the
log at the begin and the end of each test (see mark_log() in userland/tests/harness.c),
so a report belongs to the test between whose marks it stands. What comes after the
end mark, say from a timer that outlived its module, belongs to that test still.

A driver may print "WARNING: queue full" or "BUG: 3 left" itself. The kernel's own
reports start their line, and the driver's lines start with its name (pr_fmt); and
where a driver has no pr_fmt, wording that the kernel has in common with drivers
counts only if the kernel's next lines are those of a report.
"""

from __future__ import annotations

import re
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Sequence

from .kinds import ALLOCATORS, KINDS, REFINED, SLUB, STARTS, Kind
from .stages import STAGES

STAMP = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")


# A report of a kind that is not in the table; the kernel's next lines have to prove it.
OTHER = re.compile(r"BUG: |WARNING: |INFO: ")
PROOF = re.compile(r"^CPU: \d+ (UID: \d+ )?PID: \d+ Comm: ")
PROOF_LINES = 30

# Above each WARN() and BUG(), and before the text that they print.
CUT_HERE = re.compile(r"^-+\[ cut here \]-+$")
CUT_LINES = 4

# Such a report may know who allocated the object, and who freed it.
OF_ALLOCATOR = re.compile("|".join(ALLOCATORS))
# The allocator goes on about damage that it has reported; that is no other damage.
ALSO = re.compile(SLUB + "(Slab disabled since|Wrong object count)")
# What ends a report when its own end is not there: so many lines.
REPORT_LINES = 150
END = re.compile(r"^(---\[ end (trace|Kernel panic)|FIX \S+: )")

FRAME = re.compile(r"\b([A-Za-z_][\w.]*)\+0x([0-9a-f]+)/0x[0-9a-f]+ \[(\w+)[^\]]*\]")
# The same when the module is unloaded: its names are gone with it.
RAW_FRAME = re.compile(r"(?:^| |:)0x([0-9a-f]{16})\b")
# In these lines stands the instruction itself; all others name the one to return to.
EXACT = re.compile(r"^(RIP: |pc : |WARNING: |BUG: KFENCE: )")
# A timer's or a work's function, by its begin.
HINT = re.compile(r"^ODEBUG: .* hint: ")
HELD = re.compile(r"^\s*#\d+: .*, at: ")
# What a lock lets its holder wait for: the number after the colon, the less the lower.
WAITS = re.compile(r"\}-\{\d:(\d)\}, at: ")
ATOMIC = ("sleep-in-atomic", "scheduling-while-atomic", "invalid-wait")

# Reports tell a history too; what follows such a line belongs to that, until the next one.
# Where two reports of different kinds say the same, it means the same.
HISTORY = tuple((re.compile(line), word) for line, word in (
    (r"\s*(Allocated|allocated) (in|by) |\s+backtrace\b", "kmalloc"),
    (r"\s*(Freed|freed) (in|by) ", "kfree"),
    (r"(Call Trace:|CPU: |RIP: |stack backtrace:|Last potentially related)", "at"),
    (r".* is trying to (acquire lock|lock):|.* is trying to release lock ", "at"),
    (r".* (takes|just changed the state of lock):$", "at"),
    (r"but task is already holding lock:|.* with a lock still held there!", "locked"),
    (r"Preemption disabled at:", "locked"),
    (r".* state was registered at:|the existing dependency chain", "earlier"),
    (r"-> #0 |irq event stamp:|other info that might help", ""),
))  # fmt: skip
# Of several locks that are held, the one that forbids to sleep was taken there. Not every kernel
# notes that; the locks themselves tell, too: see WAITS.
ATOMIC_SINCE = "Preemption disabled at:"
# Which interrupts a lock lets in, that must let none in; and where it let in which.
UNSAFE = re.compile(r".*\b(SOFTIRQ|HARDIRQ)(-irq)?-unsafe lock")
LET_IN = re.compile(r"\s+(SOFTIRQ|HARDIRQ)-ON-[WR] at:")
# The trace begins. Of what these came upon there may be no frame yet, as it is gone, no code,
# or has only just been called; the unwinder then doubts the one who called it: the first entry,
# or the last one with a name before those that it is sure of.
TOP = ("<TASK>", "<IRQ>", "Call Trace:")
SURE = re.compile(r"^ ?[\w.]+\+0x[0-9a-f]+/|^ ?0x[0-9a-f]{16}\b")
DOUBTED = re.compile(r"^ ?\? ([A-Za-z_][\w.]*\+0x.*)")
FRAMELESS = ("code-gone", "hard-lockup", "soft-lockup", "rcu-stall")
NO_CODE = re.compile(r"kernel tried to execute NX-protected page")
# Complaining under a lock of its own, the kernel's memory checker breaks the order of its
# locks: true, and nothing to do with the module.
PRINTING = re.compile(r"\S+ \(console_owner\)")
PRINTING_LINES = 8
# Two of these stand in a report of a race.
ACCESS = re.compile(r"^(read|write)[\w -]*(\(.*\) )?to 0x[0-9a-f]+ of \d+ bytes by ")


@dataclass(frozen=True)
class Section:
    """Where a module's code lay in the kernel's memory."""

    name: str
    start: int
    size: int


@dataclass
class Report:
    """One report of the kernel, and the places in the module that it names.

    A place is a function and the offset of an instruction in it, under the word for
    what happened there: at, found, kmalloc, kfree, locked, earlier, other, handler. Of
    a module that is unloaded it is a section and the offset in that.
    """

    kind: Kind
    headline: str
    module: str = ""
    cut: bool = False  # only the line above a warning so far
    lines: list[str] = field(default_factory=list)
    places: dict[str, tuple[str, int]] = field(default_factory=dict)
    ended: bool = False
    role: str = "at"
    unsafe: str = ""  # the interrupts that a lock lets in wrongly
    waits: int = 9  # of the locks held, the one that lets wait least: its number
    doubted: str = ""  # the last entry with a name that the unwinder was not sure of
    sure: bool = False  # the trace has come to an entry that the unwinder is sure of

    @property
    def of_printing(self) -> bool:
        """It is about how another report was printed."""
        return self.kind.name == "circular-locking" and any(
            PRINTING.match(line) for line in self.lines[:PRINTING_LINES]
        )

    @property
    def frameless(self) -> bool:
        """What ran when it was made may have no frame, so that its caller looks like a leftover."""
        return self.kind.name in FRAMELESS or bool(NO_CODE.match(self.headline))

    @property
    def cause(self) -> str:
        """What usually causes it, in the lab that the module is of."""
        number = next((stage.number for stage in STAGES if stage.module == self.module), 1)
        return self.kind.cause(number)

    def add(self, line: str, sections: Sequence[Section] = ()) -> None:
        self.lines.append(line)
        name = self.kind.name
        self.kind = next((k for was, text, k in REFINED if was == name and text.match(line)),
                         self.kind)  # fmt: skip
        self.role = next((word for start, word in HISTORY if start.match(line)), self.role)
        if match := UNSAFE.match(line):
            self.unsafe = match[1]
        if match := LET_IN.match(line):
            self.role = "earlier" if match[1] == (self.unsafe or match[1]) else ""
        if ACCESS.match(line):
            self.role = "other" if "at" in self.places else "at"
        before = self.lines[-2].strip() if len(self.lines) > 1 else ""
        self.sure = self.sure and line.strip() not in TOP
        first_sure = not self.sure and bool(SURE.match(line))
        self.sure = self.sure or first_sure
        if self.frameless and before in TOP:
            line = line.replace("? ", "", 1)
        place = _place(line, self.module, sections)
        if match := DOUBTED.match(line):
            self.doubted = match[1]
        if self.frameless and first_sure:
            place = _place(self.doubted, self.module, sections) or place
        # There is no code; or it is whatever came to need the last bytes of a stack.
        if EXACT.match(line) and (NO_CODE.match(self.headline) or name == "stack-full"):
            place = None
        word = self._word(line)
        if len(self.lines) > 1 and self.lines[-2].startswith(ATOMIC_SINCE) and place:
            self.places.pop("locked", None)
        if place and self.kind.name in ATOMIC and self._waits_less(line):
            self.places.pop("locked", None)
        if place and word:
            back = 0 if EXACT.match(line) or HINT.match(line) else 1
            self.places.setdefault(word, (place[0], max(0, place[1] - back)))
        self.ended = bool(END.match(line)) or len(self.lines) >= REPORT_LINES

    def _waits_less(self, line: str) -> bool:
        """It is a lock that is held, and forbids more than those before it."""
        match = WAITS.search(line)
        less = bool(match) and HELD.match(line) and int(match[1]) < self.waits
        if less:
            self.waits = int(match[1])
        return bool(less)

    def _word(self, line: str) -> str:
        if HINT.match(line):
            return "handler"
        if HELD.match(line):
            return "locked"
        # Overwritten long ago: this is where it came to light only.
        return "found" if self.role == "at" and "overwritten" in self.headline else self.role


def _place(line: str, module: str, sections: Sequence[Section]) -> tuple[str, int] | None:
    """The function of the module, or its section, that a line names; and the offset in it."""
    if "? " in line:  # left on the stack by something that is over
        return None
    frame = FRAME.search(line)
    if frame:
        return (frame[1], int(frame[2], 16)) if frame[3] == module else None
    raw = RAW_FRAME.search(line)
    address = int(raw[1], 16) if raw else 0
    for section in sections:
        if section.start <= address < section.start + section.size:
            return section.name, address - section.start
    return None


def sections(module: bytes, starts: dict[str, int]) -> list[Section]:
    """The sections of a module that was loaded to these addresses."""
    found = []
    try:
        # The ELF header's table of sections: where it is, how many, which one has the names.
        (table,) = struct.unpack_from("<Q", module, 0x28)
        count, names = struct.unpack_from("<HH", module, 0x3C)
        rows = [struct.unpack_from("<IIQQQQ", module, table + 64 * i) for i in range(count)]
        for row in rows:
            at = rows[names][4] + row[0]
            name = module[at : module.index(b"\0", at)].decode(errors="replace")
            if name in starts:
                found.append(Section(name, starts[name], row[5]))
    except (struct.error, IndexError, ValueError):
        pass  # no module at all: it has no lines, either
    return found


def strip_stamp(line: str) -> str:
    return STAMP.sub("", line.rstrip("\r"))


@dataclass
class Part:
    """The share of a test in the log, of lines that no earlier test has taken."""

    before: list[str]  # after the test before it had ended, so that one's
    inside: list[str]
    whole: bool  # both marks are there: nothing is missing in between
    taken: int  # how many lines this was


def part_of(lines: list[str], test: str) -> Part:
    """Where a test begins and ends in lines without their stamps.

    Only the marks of this test count, the first begin and the last end: a driver that
    prints marks itself cannot push its report off to another test.
    """
    first = next((i for i, line in enumerate(lines) if line == f"judge: begin {test}"), -1)
    last = max((i for i, line in enumerate(lines) if line == f"judge: end {test}"), default=-1)
    end = last if last > first else len(lines)
    inside = [line for line in lines[first + 1 : end] if not line.startswith("judge: ")]
    return Part(lines[: max(first, 0)], inside, 0 <= first < last, min(end + 1, len(lines)))


def _find(lines: list[str], at: int) -> Kind | None:
    kind = next((kind for kind, start in STARTS if start.match(lines[at])), None)
    if kind or not OTHER.match(lines[at]):
        return kind
    proved = any(PROOF.match(line) for line in lines[at + 1 : at + PROOF_LINES])
    return KINDS["other"] if proved else None


def reports(lines: list[str], module: str, sections: Sequence[Section] = ()) -> list[Report]:
    """The reports in these lines. What follows within one belongs to it."""
    found: list[Report] = []
    for at, line in enumerate(lines):
        kind = _find(lines, at)
        last = found[-1] if found else None
        if last and last.cut and kind and len(last.lines) <= CUT_LINES:
            last.kind, last.headline, last.cut = kind, line.strip(), False
        elif last is None or last.ended:
            if last and kind and kind.name == "panic" and last.kind.name != "panic":
                kind = None  # "Fatal exception": only says again that there was one
            if last and ALSO.match(line):
                kind = None
            if kind:
                found.append(Report(kind, line.strip(), module))
            elif CUT_HERE.match(line):
                found.append(Report(KINDS["warning"], line.strip(), module, cut=True))
        if found and not found[-1].ended:
            found[-1].add(line, sections)
    # Only beside that other one: alone it would be all that there is to go by.
    return [report for report in found if not report.of_printing] or found


def locate(module: Path, place: tuple[str, int], inside: Sequence[str] = ()) -> tuple[str, str]:
    """FILE:LINE and function of an instruction in a module; '' where debug data do not tell.

    If a function of the kernel's headers is inlined there, the caller's line is meant.
    inside: what to put before the commands, so that they run in a sandbox.
    """
    name, offset = place
    if name.startswith("."):
        return _line_of(module, name, offset, inside)
    nm = [*inside, "nm", "-f", "sysv", module]
    symbols = subprocess.run(nm, capture_output=True, text=True, errors="replace").stdout
    for row in symbols.splitlines():
        cells = [cell.strip() for cell in row.split("|")]
        if len(cells) == 7 and cells[0] == name and cells[3] == "FUNC":
            return _line_of(module, cells[6], int(cells[1], 16) + offset, inside)
    return "", ""


def _line_of(module: Path, section: str, offset: int, inside: Sequence[str]) -> tuple[str, str]:
    done = subprocess.run(
        [*inside, "addr2line", "-i", "-f", "-e", module, "-j", section, f"{offset:#x}"],
        capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    return _own(done.stdout.splitlines(), module)


def _own(rows: list[str], module: Path) -> tuple[str, str]:
    """The innermost of addr2line's pairs (function, place) that is not in a kernel header."""
    pairs = [(line.split(" (")[0], name) for name, line in zip(rows[::2], rows[1::2])]
    pairs = [pair for pair in pairs if not pair[0].startswith("?")]
    # The module's sources were compiled in its folder, and include/ beside it.
    near = f"{module.parent.parent}/"
    ours = [pair for pair in pairs if not Path(pair[0]).is_absolute() or pair[0].startswith(near)]
    return next(iter(ours or pairs), ("", ""))
