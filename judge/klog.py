"""The kernel's log: which test a line belongs to, and what a report in it means.

The console is watched from outside the VM. The test runner writes a mark into the
log at the begin and the end of each test (see mark_log() in userland/tests/harness.c),
so a report belongs to the test between whose marks it stands.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

STAMP = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")
MARK = re.compile(r"^judge: (begin|end) (\S+)$")


@dataclass(frozen=True)
class Kind:
    """A kind of kernel report: how it starts, and what that means in plain words."""

    name: str
    start: re.Pattern[str]
    means: str


def _kind(name: str, start: str, means: str) -> Kind:
    return Kind(name, re.compile(start), means)


# The first that matches counts, so the special ones stand before the general ones.
KINDS = (
    _kind("use-after-free", r"BUG: KASAN: (slab-)?use-after-free",
          "The code used memory after kfree() had given it back."),
    _kind("out-of-bounds", r"BUG: KASAN: (slab-|stack-|global-|vmalloc-)?out-of-bounds",
          "The code read or wrote beyond the end of an object."),
    _kind("double-free", r"BUG: KASAN: double-free|BUG: KASAN: invalid-free",
          "The code called kfree() twice for one object, or for something it never allocated."),
    _kind("kasan", r"BUG: KASAN: ", "The code touched memory that it must not touch."),
    _kind("double-free", r"BUG .*: Object already free",
          "The code called kfree() for an object that was already free."),
    _kind("use-after-free", r"BUG .*: Poison overwritten",
          "The code wrote into memory after kfree() had given it back."),
    _kind("out-of-bounds", r"BUG .*: (Right |Left |kmalloc )?[Rr]edzone overwritten",
          "The code wrote beyond the end of an allocated object."),
    _kind("slab", r"BUG .*: (Objects remaining|Invalid object pointer|Freepointer corrupt"
          r"|Padding overwritten|Freechain corrupt)",
          "The allocator's own data was damaged: something wrote where it must not, or leaked."),
    _kind("sleep-in-atomic", r"BUG: sleeping function called from invalid context",
          "The code may sleep here, but holds a spinlock or has interrupts off."),
    _kind("sleep-in-atomic", r"BUG: scheduling while atomic",
          "The code slept while it held a spinlock or had interrupts off."),
    _kind("invalid-wait", r"BUG: Invalid wait context",
          "The code takes a lock that can sleep inside one that must not."),
    _kind("blocking-while-not-running", r"do not call blocking ops when !TASK_RUNNING",
          "The condition of a wait may sleep itself; the wait can then be lost."),
    _kind("deadlock", r"WARNING: possible (circular locking dependency|recursive locking)"
          r"|WARNING: possible irq lock inversion",
          "Two paths take the same locks in different orders, or one lock twice: they can deadlock."),
    _kind("lock-state", r"WARNING: inconsistent lock state",
          "A lock is taken both with interrupts on and in an interrupt: it can deadlock."),
    _kind("lock-held-at-return", r"WARNING: lock held when returning to user space",
          "A path returns to user space without its unlock."),
    _kind("bad-unlock", r"WARNING: bad unlock balance|DEBUG_LOCKS_WARN_ON",
          "The code unlocked something that it had not locked, or damaged a lock."),
    _kind("kcsan", r"BUG: KCSAN: ", "Two tasks use the same data at once without a lock."),
    _kind("leak", r"kmemleak: \d+ new suspected memory leaks",
          "Memory was allocated that nobody can reach or free any more."),
    _kind("odebug", r"ODEBUG: ", "A timer, a work or a similar object was used or freed while active."),
    _kind("list", r"list_(add|del) corruption", "A list is broken: an entry was added or deleted twice, or freed while listed."),
    _kind("refcount", r"refcount_t: ", "A reference count went below zero or was used after it had."),
    _kind("ubsan", r"UBSAN: ", "The code did something that C leaves undefined."),
    _kind("usercopy", r"usercopy: Kernel memory (exposure|overwrite) attempt",
          "A copy to or from user space went beyond the kernel object that it names."),
    _kind("fortify", r"detected buffer overflow in|memcpy: detected field-spanning",
          "A copy is longer than the buffer that it fills or reads."),
    _kind("stack", r"stack-protector: Kernel stack is corrupted|corrupted stack end",
          "The code wrote beyond a variable on the kernel's stack."),
    _kind("user-access", r"BUG: unable to handle .* user|supervisor access.*user|Bad or missing usercopy",
          "The code used a user-space pointer directly; that needs copy_to_user() or copy_from_user()."),
    _kind("null-pointer", r"BUG: kernel NULL pointer dereference",
          "The code followed a NULL pointer."),
    _kind("bad-pointer", r"BUG: unable to handle page fault|general protection fault",
          "The code followed a pointer that leads nowhere: never set, already freed, or overwritten."),
    _kind("divide", r"divide error:", "The code divided by zero."),
    _kind("bug", r"kernel BUG at ", "The code ran into a BUG(): a state that must never be."),
    _kind("oops", r"invalid opcode:|Oops[: ]", "The kernel hit a fault inside this code."),
    _kind("soft-lockup", r"watchdog: BUG: soft lockup",
          "A CPU ran in the kernel for many seconds without a pause: an endless loop."),
    _kind("hard-lockup", r"Watchdog detected hard LOCKUP|NMI watchdog",
          "A CPU ran for many seconds with interrupts off: an endless loop, or a spinlock taken twice."),
    _kind("rcu-stall", r"rcu: INFO: rcu_\w+ (self-)?detected|rcu: INFO: rcu_\w+ detected",
          "A CPU made no progress for many seconds: an endless loop, or interrupts kept off."),
    _kind("hung-task", r"INFO: task .* blocked for more than",
          "A process has waited for minutes where no signal can reach it: a lost unlock or wake-up."),
    _kind("duplicate", r"sysfs: cannot create duplicate filename",
          "The name is registered already: by another lab's module, or twice by this one."),
    _kind("panic", r"Kernel panic - not syncing", "The kernel gave up."),
    _kind("warning", r"WARNING: CPU: ", "The kernel found a state that it warns about."),
)  # fmt: skip

# What ends a report when no explicit end is there: a mark, or so many lines.
REPORT_LINES = 60
FRAME = re.compile(r"\b([A-Za-z_][\w.]*)\+0x([0-9a-f]+)/0x[0-9a-f]+ \[(\w+)[^\]]*\]")


@dataclass
class Report:
    """One report of the kernel, and the place in the module that it names."""

    kind: Kind
    headline: str
    lines: list[str] = field(default_factory=list)
    frame: tuple[str, int] | None = None


def strip_stamp(line: str) -> str:
    return STAMP.sub("", line.rstrip("\r"))


def split_by_test(log: str) -> dict[str, list[str]]:
    """Log lines by the test in which they fell; '' for those before the first."""
    parts: dict[str, list[str]] = {"": []}
    current = ""
    for raw in log.split("\n"):
        line = strip_stamp(raw)
        mark = MARK.match(line)
        if mark and mark[1] == "begin":
            current = mark[2]
            parts.setdefault(current, [])
        elif not mark:
            parts[current].append(line)
    return parts


def has_end(log: str, test: str) -> bool:
    return f"judge: end {test}" in log


def _find(line: str) -> Kind | None:
    return next((kind for kind in KINDS if kind.start.search(line)), None)


def reports(lines: list[str], module: str) -> list[Report]:
    """The reports in these lines. What follows within one belongs to it."""
    found: list[Report] = []
    for line in lines:
        kind = _find(line)
        last = found[-1] if found else None
        if kind and (last is None or len(last.lines) >= REPORT_LINES):
            last = Report(kind, line.strip())
            found.append(last)
        if last is None or len(last.lines) >= REPORT_LINES:
            continue
        last.lines.append(line)
        frame = FRAME.search(line)
        if frame and frame[3] == module and last.frame is None and " ? " not in line:
            last.frame = frame[1], int(frame[2], 16)
    return found


def locate(module: Path, frame: tuple[str, int]) -> str:
    """FILE:LINE of FUNCTION+OFFSET in a module, or '' if its debug data does not tell."""
    name, offset = frame
    symbols = subprocess.run(["nm", "-f", "sysv", module], capture_output=True, text=True).stdout
    for row in symbols.splitlines():
        cells = [cell.strip() for cell in row.split("|")]
        if len(cells) == 7 and cells[0] == name and cells[3] == "FUNC":
            # Return addresses point behind the call: one byte less is inside of it.
            address = int(cells[1], 16) + max(0, offset - 1)
            done = subprocess.run(
                ["addr2line", "-e", module, "-j", cells[6], f"{address:#x}"],
                capture_output=True, text=True,
            )  # fmt: skip
            place = done.stdout.split(" ")[0].strip()
            return "" if place.startswith("?") else place
    return ""
