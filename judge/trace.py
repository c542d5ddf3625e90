"""make lab3 trace: what one blocked read() and its wake-up did, told by the kernel itself.

In the VM a reader falls asleep in the driver and a write() wakes it, while ftrace records:
the driver's own functions, who sleeps and wakes (sched_switch, sched_waking), what the
calls return, memory that the driver takes and frees. From lab 5 on a second part shows the
timer, the work and how a message expires. Here that becomes a timeline: one row for each
event, one column for each task.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass, field
from typing import Callable, Iterable, Sequence

from . import lab, report
from .build import Built
from .errors import CannotTest
from .session import Session
from .stages import Stage
from .vm import Vm, VmGone

WIDTH = 80
TIME_WIDTH = 9
SLEEPS_FROM = 3  # the stage from which on a reader sleeps
EXPIRES_FROM = 5
SCRIPT_PATH = "/tmp/trace"
NO_TRACER = "no function tracer"

# Runs as root in the VM. What is recorded is filtered there: its serial line is slow.
SCRIPT = """\
cd /sys/kernel/tracing || exit
case $1 in
on)
	grep -qw function available_tracers 2>/dev/null || { echo no function tracer; exit 1; }
	echo mono > trace_clock
	echo ':mod:@MODULE@' > set_ftrace_filter
	echo function > current_tracer
	for event in @EVENTS@; do
		[ -e events/$event ] && echo 1 > events/$event/enable
	done
	echo > trace
	echo 1 > tracing_on
	;;
off)
	echo 0 > tracing_on
	own=$(cut -d' ' -f1 set_ftrace_filter | paste -s -d'|' -)
	grep -E "\\\\[@MODULE@\\\\]|: ($own) <-|function=? ?($own)|call_site=($own)\\+" trace \\
		> /tmp/own
	tasks=$(sed -nE 's/^ *(.*)-([0-9]+) +\\[.*/\\2/p' /tmp/own | sort -u | grep -vx 0 |
		paste -s -d'|' -)
	grep -E "^ *.*-($tasks) +\\[.*(sched_switch|sys_(read|write) ->)|pid=($tasks) " trace |
		cat /tmp/own - | sort -u -k 1,1 -k 2,2 -k 4,4 -k 5 | sort -s -k 4,4
	;;
esac
"""
EVENTS = (
    "sched/sched_switch", "sched/sched_waking", "syscalls/sys_exit_read",
    "syscalls/sys_exit_write", "kmem/kmalloc", "kmem/kfree", "timer/timer_start",
    "timer/timer_expire_entry", "workqueue/workqueue_queue_work",
    "workqueue/workqueue_execute_start", "workqueue/workqueue_execute_end",
)  # fmt: skip

LINE = re.compile(
    r"^\s*(?P<task>\S.*?)-(?P<pid>\d+)\s+\[(?P<cpu>\d+)\]\s+(?P<flags>\S+)\s+"
    r"(?P<time>\d+\.\d+): (?P<what>\S.*)$"
)
FUNCTION = re.compile(r"^(\w+)(?:\.\w+)* <-(\w+)")
# The kernel's functions behind the calls whose return is shown.
CALLS = re.compile(r"read|write")
SWITCH = re.compile(r"prev_pid=(\d+) .*prev_state=(\S+) ==> .*next_pid=(\d+) ")
PID = re.compile(r"\bpid=(\d+)\b")
RETURN = re.compile(r"^sys_(\w+) -> (0x[0-9a-f]+)")
OF = re.compile(r"(?:function=?|call_site=) ?(\w+)")
BYTES = re.compile(r"bytes_req=(\d+)")
DONE = "the work is done"
NAMES = {512: "ERESTARTSYS", **errno.errorcode}


@dataclass(frozen=True)
class Event:
    """A line of the trace."""

    time: float
    task: str
    pid: int
    cpu: int
    softirq: bool  # on top of whatever ran there
    what: str

    @property
    def kind(self) -> str:
        return self.what.partition(":")[0] if ": " in self.what else ""


@dataclass(frozen=True)
class Row:
    """One thing that happened, in words, and in whose column."""

    time: float
    column: str
    text: str


def parse(lines: Iterable[str]) -> list[Event]:
    found = []
    for match in filter(None, map(LINE.match, lines)):
        found.append(Event(
            float(match["time"]), match["task"], int(match["pid"]), int(match["cpu"]),
            len(match["flags"]) > 2 and match["flags"][2] in "sSH", match["what"],
        ))  # fmt: skip
    return sorted(found, key=lambda event: event.time)


def returned(text: str) -> str:
    """What a system call gave back, from the 64 bits of the trace."""
    value = int(text, 16)
    if value >> 63:
        value -= 1 << 64
        return f"-{NAMES.get(-value, str(-value))}"
    return str(value)


@dataclass
class Timeline:
    """Makes rows of events; knows who is in the driver and who is asleep there."""

    own: set[str] = field(default_factory=set)  # the module's functions
    inside: set[int] = field(default_factory=set)  # tasks in a call of the driver's
    asleep: dict[int, float] = field(default_factory=dict)
    woken: dict[int, float] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    slept: list[str] = field(default_factory=list)  # each sleep, in words

    def column(self, event: Event) -> str:
        if event.softirq:
            return f"timer, CPU {event.cpu}"
        return f"{event.task}, pid {event.pid}"

    def add(self, events: Sequence[Event]) -> None:
        self.own |= {match[1] for event in events if (match := FUNCTION.match(event.what))}
        ran = {event.pid for event in events if FUNCTION.match(event.what) and not event.softirq}
        self.names = {event.pid: event.task for event in events if event.pid in ran}
        for event in events:
            self._one(event)

    def _say(self, event: Event, text: str, column: str = "") -> None:
        self.rows.append(Row(event.time, column or self.column(event), text))

    def _one(self, event: Event) -> None:
        kind = event.kind
        if match := FUNCTION.match(event.what):
            nested = match[2] in self.own
            if not event.softirq and CALLS.search(match[2]):
                self.inside.add(event.pid)
            self._say(event, f"{'  ' * nested}{match[1]}()")
        elif match := RETURN.match(event.what):
            if event.pid in self.inside:
                self._say(event, f"{match[1]}() returns {returned(match[2])}")
                self.inside.discard(event.pid)
        elif kind == "sched_switch":
            self._switch(event)
        elif kind == "sched_waking":
            self._waking(event)
        else:
            self._others(event, kind)

    def _switch(self, event: Event) -> None:
        match = SWITCH.search(event.what)
        if not match:
            return
        before, state, after = int(match[1]), match[2], int(match[3])
        if before in self.inside and state[0] in "SD":
            self.asleep[before] = event.time
            self._say(event, f"sleeps ({state[0]}), off CPU {event.cpu}", self._of(before))
        if after in self.asleep:
            self._say(event, f"runs again, on CPU {event.cpu}", self._of(after))
            since, woken = self.asleep.pop(after), self.woken.pop(after, event.time)
            self.slept.append(
                f"{self.names[after]} slept for {_ms(woken - since)} ms, and ran "
                f"{_ms(event.time - woken)} ms after its wake-up"
            )

    def _of(self, pid: int) -> str:
        return f"{self.names.get(pid, '?')}, pid {pid}"

    def _waking(self, event: Event) -> None:
        match = PID.search(event.what)
        if match and int(match[1]) in self.asleep and (event.softirq or event.pid in self.names):
            self.woken[int(match[1])] = event.time
            self._say(event, f"wakes {self.names[int(match[1])]}")

    def _others(self, event: Event, kind: str) -> None:
        of = OF.search(event.what)
        if not of or of[1] not in self.own:
            return
        says = {
            "kmalloc": lambda: f"kmalloc({(BYTES.search(event.what) or '??')[1]})",
            "kfree": lambda: "kfree()",
            "timer_start": lambda: "sets the timer",
            "timer_expire_entry": lambda: "the timer goes off",
            "workqueue_queue_work": lambda: "schedule_work()",
            "workqueue_execute_end": lambda: DONE,
        }.get(kind)
        if says:
            self._say(event, f"  {says()}" if kind in ("kmalloc", "kfree") else says())


def _ms(seconds: float) -> str:
    return f"{max(seconds, 0) * 1000:.1f}"


def of_tasks(rows: Sequence[Row]) -> list[Row]:
    """Without what timer and work do meanwhile."""
    return [row for row in rows if not row.column.startswith(("timer,", "kworker/"))]


def of_expiry(rows: Sequence[Row]) -> list[Row]:
    """Without those who only ask how things stand, and until the work that frees is done."""
    rows = [row for row in rows if not row.column.startswith("ioctl,")]
    freed = [at for at, row in enumerate(rows)
             if row.column.startswith("kworker/") and row.text.strip() == "kfree()"]  # fmt: skip
    if not freed:
        return rows
    later = range(freed[-1], len(rows))
    return rows[: next((at + 1 for at in later if rows[at].text == DONE), len(rows))]


def draw(rows: Sequence[Row]) -> list[str]:
    """The rows for a terminal of 80 columns; ':' where a task sleeps."""
    if not rows:
        return ["nothing of the driver was called"]
    rows = sorted(rows, key=lambda row: row.time)
    columns = list(dict.fromkeys(row.column for row in rows))
    width = (WIDTH - TIME_WIDTH) // len(columns)
    drawn = [(" " * (TIME_WIDTH - 4) + "ms  " + "".join(f"{name:<{width}}" for name in columns)).rstrip()]
    start, asleep = rows[0].time, set()
    for row in rows:
        cells = []
        for name in columns:
            text = row.text if name == row.column else ":" if name in asleep else ""
            cells.append(f"{text[: width - 1]:<{width}}")
        drawn.append(f"{_ms(row.time - start):>{TIME_WIDTH - 2}}  {''.join(cells)}".rstrip())
        if row.text.startswith("sleeps"):
            asleep.add(row.column)
        elif row.text.startswith("runs again"):
            asleep.discard(row.column)
    return drawn


# -- in the VM --------------------------------------------------------------------------


def script(module: str) -> str:
    return SCRIPT.replace("@MODULE@", module).replace("@EVENTS@", " ".join(EVENTS))


def _record(session: Session, part: Part) -> Timeline:
    """Types the lines while the kernel records; what that gave."""
    on = session.run(f"sudo sh {SCRIPT_PATH} on")
    if NO_TRACER in on.output:
        raise CannotTest("this kernel has no function tracer (CONFIG_FUNCTION_TRACER)")
    if on.status:
        raise VmGone(f"tracing cannot be switched on: {on.output.strip()}")
    for one in part.typed:
        print(report.colour("1", f"$ {one}"))
        done = session.run(one)
        print(done.output, end="")
    if part.wait:
        session.run(part.wait)
    line = Timeline()
    line.add(parse(session.run(f"sudo sh {SCRIPT_PATH} off").output.splitlines()))
    return line


@dataclass(frozen=True)
class Part:
    """What is typed while the kernel records, and which rows of it are shown."""

    title: str
    typed: tuple[str, ...]
    shown: Callable[[Sequence[Row]], list[Row]] = of_tasks
    params: str = ""
    wait: str = ""


# Until the message is gone, but not for ever.
EXPIRED = (
    "for i in $(seq 200); do [ $(ioctl /dev/kmsgpipe0 KMSGPIPE_GET_STATS | "
    "sed -n 's/^ *queued[^0-9]*//p') = 0 ] && break; usleep 20000; done"
)


ECHO = Part("One write(), one read(). Nothing sleeps before lab 3.",
            ('echo "hello" > /dev/kmsgpipe0', "head -n 1 /dev/kmsgpipe0"))  # fmt: skip
SLEEP = Part("A reader sleeps, a write() wakes it.",
             ("( head -n 1 /dev/kmsgpipe0 & )", 'echo "wake up" > /dev/kmsgpipe0'))  # fmt: skip
EXPIRY = Part("A message gets too old. Who looks too early finds it young still.",
              ('echo "too late" > /dev/kmsgpipe0',), of_expiry,
              "cleanup_interval_ms=100 ttl_ms=150", EXPIRED)  # fmt: skip
# From which stage on, what is played.
PARTS = {1: (ECHO,), SLEEPS_FROM: (SLEEP,), EXPIRES_FROM: (SLEEP, EXPIRY)}


def _kind(stage: Stage) -> int:
    return max(number for number in PARTS if number <= stage.number)


def run(stage: Stage, built: Built, vm: Vm) -> int:
    try:
        lab.bring(vm, stage, built)
        session = Session(vm)
        vm.put(SCRIPT_PATH, script(stage.module).encode())
        for number, part in enumerate(PARTS[_kind(stage)]):
            if number:
                session.run(f"sudo rmmod {stage.module}")
            _play(stage, vm, session, part)
        wrong = lab.trouble(vm, stage)
    except lab.LoadFailed as failed:
        print(f"{stage.name}: the module does not load: {failed}")
        return 1
    except VmGone as gone:
        wrong = lab.trouble(vm, stage, gone)
    if wrong:
        print(f"{stage.name}: {wrong}")
    return 1 if wrong else 0


def _play(stage: Stage, vm: Vm, session: Session, part: Part) -> None:
    lab.load(vm, stage, part.params)
    print(f"\n{part.title}")
    if part.params:
        print(f"The module is loaded with {part.params}.")
    print()
    line = _record(session, part)
    print("\n" + "\n".join(draw(part.shown(line.rows))))
    for sleep in line.slept:
        print(f"\n{sleep}.")
