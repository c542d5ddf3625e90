"""How verdicts look on a terminal: one line a behaviour, and the reason where one fails."""

from __future__ import annotations

import os
import re
import sys
import textwrap

from . import klog
from .build import Built
from .stages import STAGES, Stage
from .trial import Verdict

WIDTH = 80
LOG_LINES = 12
# The first one counts: what follows is mostly what it has led to.
MOST_REPORTS = 2
# In a report: what says nothing without a disassembler, or to nobody here.
REGISTERS = re.compile(
    r"^(Code: |(RSP|RAX|RDX|RBP|R\d\d|FS|CS|CR2|DR\d|PKRU): |PGD |#PF: error_code"
    r"|Hardware name: |Modules linked in: |\s*</?TASK>|[-= ]*$)"
)

# What each verdict of the runner or of the host means to a student.
VERDICTS = {
    "failed": "",
    "time-out": "The test did not end in its time; its processes were killed.",
    "unkillable": "A process is stuck in the kernel and not even SIGKILL ends it: "
    "it waits uninterruptibly, or loops without end.",
    "crashed": "The test program itself died; a broken driver can do that.",
    "cannot-load": "The module does not load.",
    "cannot-unload": "The module cannot be unloaded although no file is open.",
    "kernel-report": "The calls returned what they should, but the kernel complained.",
    "hung": "The VM answers no more; a loop with interrupts off does that.",
    "vm-ended": "The VM ended: the kernel panicked, or something switched it off.",
    "log-lost": "The marks of this test are missing in the kernel's log, and what it said with "
    "them: a pass without is not believed.",
    "log-flood": "The module floods the kernel log.",
    "forged": "The results came out of turn and cannot be believed.",
    "not-run": "",
}


def colour(code: str, text: str) -> str:
    """Only on a terminal, and not against the user's will (https://no-color.org)."""
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        return f"\033[{code}m{text}\033[0m"
    return text


def _wrapped(label: str, text: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=f"        {label:8} ", subsequent_indent=" " * 17,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def folded(text: str) -> str:
    """One of the lines above the verdicts, for a terminal's width."""
    return textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="    ",
                         break_long_words=False, break_on_hyphens=False)  # fmt: skip


def line(verdict: Verdict) -> str:
    mark = colour("32", "ok  ") if verdict.passed else colour("31", "FAIL")
    if verdict.verdict == "not-run":
        mark = colour("33", "----")
    return f"  {mark}  {verdict.test.says}"


def next_step(stage: Stage, verdicts: list[Verdict], built: Built, every: int) -> str:
    """For the student: the one failure to work on now, or what comes after the last."""
    failing = [verdict for verdict in verdicts if not verdict.passed]
    if not failing:
        if len(verdicts) < every:
            return f"Next: make {stage.name} test, for all {every} tests"
        later = STAGES[stage.number : stage.number + 1]
        then = f"make {later[0].name} start" if later else "that was the last stage"
        return f"{stage.name} is done. Next: make {stage.name} check (its style), {then}"
    not_run = [verdict for verdict in failing if verdict.verdict == "not-run"]
    first, *others = [verdict for verdict in failing if verdict not in not_run]
    rows = ["", "Work on this one first:", "", line(first), details(first, built),
            _wrapped("stuck?", f"make {stage.name} hint")]  # fmt: skip
    if not_run:
        rows += ["", f"{len(not_run)} more were not run: {not_run[0].note}.", "V=1 runs all."]
    if others:
        rows += ["", f"{len(others)} more {'fail' if len(others) > 1 else 'fails'}, "
                 f"often for the same reason. One alone, with its report:",
                 f"  make {stage.name} test TESTS={others[0].test.name}"]  # fmt: skip
    return "\n".join(rows)


def details(verdict: Verdict, built: Built | None) -> str:
    """Why a test failed: what was done, expected, seen, what the kernel said, where to read."""
    rows = [f"        {verdict.test.name}: {verdict.verdict}"]
    meaning = VERDICTS.get(verdict.verdict, "")
    if meaning:
        rows.append(_wrapped("", meaning))
    for label, text in (
        ("did", verdict.did),
        ("expected", verdict.wanted),
        ("saw", verdict.saw),
        ("note", verdict.note),
    ):
        if text:
            rows.append(_wrapped(label, text))
    more = len(verdict.reports) - MOST_REPORTS
    for report in verdict.reports[:MOST_REPORTS]:
        rows.append(_wrapped("kernel", f"{report.kind.means} ({report.kind.name})"))
        rows.append(_wrapped("why", report.cause))
        for word, frame in report.places.items() if built else ():
            place, function = klog.locate(built.module, frame)
            if place:
                rows.append(_wrapped(word, f"{os.path.basename(place)} in {function}()"))
        telling = [text for text in report.lines if not REGISTERS.match(text)]
        rows += [f"          | {text.rstrip()[:WIDTH - 12]}" for text in telling[:LOG_LINES]]
    if more > 0:
        rows.append(_wrapped("kernel", f"... and {more} more report{'s' * (more > 1)} after that"))
    if not verdict.reports and verdict.log and verdict.verdict not in ("not-run",):
        rows.append(_wrapped("log", "the kernel log of this test ends with"))
        rows += [f"          | {text[:WIDTH - 12]}" for text in verdict.log[-6:] if text]
    if verdict.verdict != "not-run":
        rows.append(_wrapped("read", f"docs/labs/{verdict.test.page}"))
    return "\n".join(rows)
