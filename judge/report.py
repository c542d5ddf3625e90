"""How verdicts look on a terminal: one line a behaviour, and the reason where one fails."""

from __future__ import annotations

import os
import sys
import textwrap

from . import klog
from .build import Built
from .trial import Verdict

WIDTH = 80
LOG_LINES = 12

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


def line(verdict: Verdict) -> str:
    mark = colour("32", "ok  ") if verdict.passed else colour("31", "FAIL")
    if verdict.verdict == "not-run":
        mark = colour("33", "----")
    return f"  {mark}  {verdict.test.says}"


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
    for report in verdict.reports:
        rows.append(_wrapped("kernel", report.kind.means))
        place = klog.locate(built.module, report.frame) if built and report.frame else ""
        if place:
            rows.append(_wrapped("at", f"{os.path.basename(place)} in {report.frame[0]}()"))
        rows += [f"          | {text[:WIDTH - 12]}" for text in report.lines[:LOG_LINES]]
    if not verdict.reports and verdict.log and verdict.verdict not in ("not-run",):
        rows.append(_wrapped("log", "the kernel log of this test ends with"))
        rows += [f"          | {text[:WIDTH - 12]}" for text in verdict.log[-4:] if text]
    if verdict.verdict != "not-run":
        rows.append(_wrapped("read", f"docs/labs/{verdict.test.page}"))
    return "\n".join(rows)
