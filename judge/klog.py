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
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Sequence

STAMP = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")


# How the slab allocator starts its reports; "Tainted: ..." or "Not tainted" stands inside.
SLUB = r"BUG \S+ \((Not t|T)ainted[^)]*\): "


@dataclass(frozen=True)
class Kind:
    """A kind of kernel report: how it starts, and what that means in plain words."""

    name: str
    start: re.Pattern[str]
    means: str


def _kind(name: str, start: str, means: str) -> Kind:
    return Kind(name, re.compile(start), means)


# The first that matches counts, so the special ones stand before the general ones.
# All of them have to match at the start of a line.
KINDS = (
    _kind("use-after-free", r"BUG: (KASAN: (slab-)?|KFENCE: )use-after-free",
          "The code used memory after kfree() had given it back."),
    _kind("double-free", r"BUG: KASAN: (double-free|invalid-free)|BUG: KFENCE: invalid free",
          "The code called kfree() twice for one object, or for something it never allocated."),
    _kind("out-of-bounds", r"BUG: KASAN: (slab-|stack-|global-|vmalloc-)?out-of-bounds"
          r"|BUG: KFENCE: (out-of-bounds|memory corruption)",
          "The code read or wrote beyond the end of an object."),
    _kind("user-access", r"BUG: KASAN: user-memory-access",
          "The code used a user-space pointer without copy_to_user() or copy_from_user()."),
    _kind("null-pointer", r"BUG: KASAN: null-ptr-deref", "The code followed a NULL pointer."),
    _kind("kasan", r"BUG: (KASAN|KFENCE|KMSAN): ",
          "The code touched memory that it must not touch."),
    _kind("double-free", SLUB + "Object already free",
          "The code called kfree() for an object that was already free."),
    _kind("use-after-free", SLUB + r"Poison overwritten|\[Poison overwritten\] 0x",
          "The code wrote into memory after kfree() had given it back."),
    _kind("out-of-bounds", SLUB + "(Right |Left |kmalloc )?[Rr]edzone overwritten"
          r"|\[(Right |Left |kmalloc )?[Rr]edzone overwritten\] 0x",
          "The code wrote beyond the end of an allocated object."),
    _kind("leak", SLUB + "Objects remaining",
          "Memory was allocated that nobody has given back."),
    _kind("slab", SLUB + r"|\[[\w ]+ overwritten\] 0x",
          "The allocator's own data was damaged: something wrote where it must not."),
    _kind("sleep-in-atomic", r"BUG: sleeping function called from invalid context",
          "The code may sleep here, but holds a spinlock or has interrupts off."),
    _kind("sleep-in-atomic", r"BUG: scheduling while atomic",
          "The code slept while it held a spinlock or had interrupts off."),
    _kind("preemptible", r"BUG: using \S+ in preemptible",
          "The code uses data of one CPU but can be moved to another one meanwhile."),
    _kind("invalid-wait", r"\[ BUG: Invalid wait context \]",
          "The code takes a lock that can sleep inside one that must not."),
    _kind("blocking-while-not-running", r"do not call blocking ops when !TASK_RUNNING",
          "The condition of a wait may sleep itself; the wait can then be lost."),
    _kind("deadlock", r"WARNING: possible (circular locking dependency|recursive locking"
          r"|irq lock inversion dependency) detected",
          "Two paths take locks in different orders, or one lock twice: they can deadlock."),
    _kind("lock-state", r"WARNING: (inconsistent lock state|\S+-safe -> \S+-unsafe lock order)",
          "A lock is taken both with interrupts on and in an interrupt: it can deadlock."),
    _kind("lock-held-at-return", r"WARNING: lock held when returning to user space"
          r"|BUG: \S+/\d+ still has locks held",
          "A path returns to user space without its unlock."),
    _kind("lock-freed", r"WARNING: held lock freed",
          "Memory was freed while a lock in it is held."),
    _kind("bad-unlock", r"WARNING: bad unlock balance|DEBUG_LOCKS_WARN_ON",
          "The code unlocked something that it had not locked, or damaged a lock."),
    _kind("lock-unset", r"INFO: trying to register non-static key|BUG: key \S+ has not been regist",
          "A lock is used that nobody has set up: mutex_init() or spin_lock_init() is missing."),
    _kind("spinlock", r"BUG: (spinlock|rwlock) ",
          "A spinlock is taken twice, damaged, or was never set up."),
    _kind("rcu", r"WARNING: suspicious RCU usage",
          "Data under RCU is used without rcu_read_lock()."),
    _kind("kcsan", r"BUG: KCSAN: ", "Two tasks use the same data at once without a lock."),
    _kind("leak", r"kmemleak: \d+ new suspected memory leaks",
          "Memory was allocated that nobody can reach or free any more."),
    _kind("odebug", r"ODEBUG: ",
          "A timer, a work or a similar object was used or freed while active."),
    _kind("list", r"list_(add|del)(_rcu)? (corruption|double add)",
          "A list is broken: an entry was added or deleted twice, or freed while listed."),
    _kind("refcount", r"refcount_t: ",
          "A reference count went below zero or was used after it had."),
    _kind("ubsan", r"UBSAN: ", "The code did something that C leaves undefined."),
    _kind("usercopy", r"usercopy: Kernel memory (exposure|overwrite) attempt",
          "A copy to or from user space went beyond the kernel object that it names."),
    _kind("fortify", r"detected buffer overflow in |\w+: detected (buffer overflow|field-spanning)",
          "A copy is longer than the buffer that it fills or reads."),
    _kind("stack", r"Kernel panic - not syncing: (stack-protector|corrupted stack end)",
          "The code wrote beyond a variable on the kernel's stack."),
    _kind("stack", r"BUG: (TASK|IRQ|\S+) stack guard page was hit|BUG: stack guard page"
          r"|PANIC: double fault|traps: PANIC: double fault",
          "The kernel's stack is used up: too large a variable on it, or a recursion."),
    _kind("null-pointer", r"BUG: kernel NULL pointer dereference",
          "The code followed a NULL pointer."),
    _kind("user-access", r"BUG: unable to handle page fault for address: 0000[0-7]",
          "The code used a user-space pointer without copy_to_user() or copy_from_user()."),
    _kind("bad-pointer", r"BUG: unable to handle page fault"
          r"|(Oops: )?general protection fault(, probably|, maybe|: )"
          r"|Unable to handle kernel (paging request|NULL pointer|access)",
          "The code followed a pointer that leads nowhere: never set, freed, or overwritten."),
    _kind("divide", r"(Oops: )?divide error: ", "The code divided by zero."),
    _kind("bug", r"kernel BUG at ", "The code ran into a BUG(): a state that must never be."),
    _kind("soft-lockup", r"(watchdog: )?BUG: soft lockup",
          "A CPU ran in the kernel for many seconds without a pause: an endless loop."),
    _kind("hard-lockup", r"((NMI )?watchdog: )?Watchdog detected hard LOCKUP",
          "A CPU ran for seconds with interrupts off: an endless loop, or a spinlock taken twice."),
    _kind("rcu-stall", r"rcu: INFO: \w+ (self-)?detected (expedited )?stall",
          "A CPU made no progress for many seconds: an endless loop, or interrupts kept off."),
    _kind("work-stall", r"BUG: workqueue lockup", "A work has not ended for many seconds."),
    _kind("hung-task", r"INFO: task \S+ blocked for more than",
          "A process has waited where no signal can reach it: a lost unlock or wake-up."),
    _kind("duplicate", r"sysfs: cannot create duplicate filename",
          "The name is registered already: by another lab's module, or twice by this one."),
    _kind("oops", r"(Oops: )?invalid opcode: |(Oops|Internal error): |stack segment: "
          r"|kernel tried to execute ", "The kernel hit a fault inside this code."),
    _kind("panic", r"Kernel panic - not syncing", "The kernel gave up."),
    _kind("warning", r"WARNING: (CPU: \d+ PID: \d+ at |\S+:\d+ at )",
          "The kernel found a state that it warns about."),
)  # fmt: skip

# A report of a kind that is not in the table; the kernel's next lines have to prove it.
OTHER = _kind("other", r"BUG: |WARNING: |INFO: ", "The kernel complained.")
PROOF = re.compile(r"^CPU: \d+ (UID: \d+ )?PID: \d+ Comm: ")
PROOF_LINES = 30

# Above each WARN() and BUG(), and before the text that they print.
CUT_HERE = re.compile(r"^-+\[ cut here \]-+$")
CUT = Kind("warning", CUT_HERE, "The kernel found a state that it warns about.")
CUT_LINES = 4

# The allocator goes on about damage that it has reported; that is no other damage.
ALSO = re.compile(SLUB + "(Slab disabled since|Wrong object count)")
# What ends a report when its own end is not there: so many lines.
REPORT_LINES = 100
END = re.compile(r"^(---\[ end (trace|Kernel panic)|FIX \S+: )")
FRAME = re.compile(r"\b([A-Za-z_][\w.]*)\+0x([0-9a-f]+)/0x[0-9a-f]+ \[(\w+)[^\]]*\]")
# In these lines stands the instruction itself; all others name the one to return to.
EXACT = re.compile(r"^(RIP: |pc : |WARNING: |BUG: KASAN: |BUG: KCSAN: |BUG: KFENCE: )")
# Reports about memory tell its history too; what follows such a line belongs to that.
HISTORY = (
    (re.compile(r"^\s*(Allocated|allocated) (in|by) "), "kmalloc"),
    (re.compile(r"^\s*(Freed|freed) (in|by) "), "kfree"),
    (re.compile(r"^(Call Trace:|CPU: |RIP: |Last potentially related)"), "at"),
)


@dataclass
class Report:
    """One report of the kernel, and the places in the module that it names.

    A place is a function and the offset of an instruction in it, under the word for
    what happened there: at, found, kmalloc, kfree.
    """

    kind: Kind
    headline: str
    lines: list[str] = field(default_factory=list)
    places: dict[str, tuple[str, int]] = field(default_factory=dict)
    ended: bool = False
    role: str = "at"

    def add(self, line: str, module: str) -> None:
        self.lines.append(line)
        self.role = next((word for start, word in HISTORY if start.match(line)), self.role)
        frame = FRAME.search(line)
        if frame and frame[3] == module and "? " not in line:
            back = 0 if EXACT.match(line) else 1
            # Overwritten long ago: this is where it came to light only.
            word = "found" if self.role == "at" and "overwritten" in self.headline else self.role
            self.places.setdefault(word, (frame[1], max(0, int(frame[2], 16) - back)))
        self.ended = bool(END.match(line)) or len(self.lines) >= REPORT_LINES


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
    kind = next((kind for kind in KINDS if kind.start.match(lines[at])), None)
    if kind or not OTHER.start.match(lines[at]):
        return kind
    proved = any(PROOF.match(line) for line in lines[at + 1 : at + PROOF_LINES])
    return OTHER if proved else None


def reports(lines: list[str], module: str) -> list[Report]:
    """The reports in these lines. What follows within one belongs to it."""
    found: list[Report] = []
    for at, line in enumerate(lines):
        kind = _find(lines, at)
        last = found[-1] if found else None
        if last and last.kind is CUT and kind and len(last.lines) <= CUT_LINES:
            last.kind, last.headline = kind, line.strip()
        elif last is None or last.ended:
            if last and kind and kind.name == "panic" and last.kind.name != "panic":
                kind = None  # "Fatal exception": only says again that there was one
            if last and ALSO.match(line):
                kind = None
            kind = kind or (CUT if CUT_HERE.match(line) else None)
            if kind:
                found.append(Report(kind, line.strip()))
        if found and not found[-1].ended:
            found[-1].add(line, module)
    return found


def locate(
    module: Path, place: tuple[str, int], inside: Sequence[str] = ()
) -> tuple[str, str]:
    """FILE:LINE and function of an instruction in a module; '' where debug data do not tell.

    If a function of the kernel's headers is inlined there, the caller's line is meant.
    inside: what to put before the commands, so that they run in a sandbox.
    """
    name, offset = place
    nm = [*inside, "nm", "-f", "sysv", module]
    symbols = subprocess.run(nm, capture_output=True, text=True, errors="replace").stdout
    for row in symbols.splitlines():
        cells = [cell.strip() for cell in row.split("|")]
        if len(cells) == 7 and cells[0] == name and cells[3] == "FUNC":
            done = subprocess.run(
                [*inside, "addr2line", "-i", "-f", "-e", module, "-j", cells[6],
                 f"{int(cells[1], 16) + offset:#x}"],
                capture_output=True, text=True, errors="replace",
            )  # fmt: skip
            return _own(done.stdout.splitlines(), module)
    return "", ""


def _own(rows: list[str], module: Path) -> tuple[str, str]:
    """The innermost of addr2line's pairs (function, place) that is not in a kernel header."""
    pairs = [(line.split(" (")[0], name) for name, line in zip(rows[::2], rows[1::2])]
    pairs = [pair for pair in pairs if not pair[0].startswith("?")]
    # The module's sources were compiled in its folder, and include/ beside it.
    near = f"{module.parent.parent}/"
    ours = [pair for pair in pairs if not Path(pair[0]).is_absolute() or pair[0].startswith(near)]
    return next(iter(ours or pairs), ("", ""))
