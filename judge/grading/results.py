"""A record as others read it: Gradescope, JUnit XML, KTAP, a page, and lines on a terminal.

All of it is made from the record and the weights alone, in the order of the tests and
without a time, so that the same verdicts give the same bytes.
"""

from __future__ import annotations

import html
import json
import re
import textwrap
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from .. import report
from ..stages import BY_NAME
from .judging import Behaviour, OnKernel, Record
from .submission import shown
from .weights import Share, Weights

WIDTH = 80
FILES = ("results.json", "junit.xml", "results.ktap", "report.html")
# What XML 1.0 has no way to write.
NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
NOT_GRADABLE_HELP = "Nothing was run. Hand in what the lab asks for, and it will be."


@dataclass(frozen=True)
class Grade:
    """A record, and what it is worth."""

    name: str  # of the submission, safe to show
    record: Record
    shares: dict[str, Share]
    points: float  # the most that there is

    @property
    def score(self) -> float:
        return round(
            sum(share.points for name, share in self.shares.items() if self.holds(name)), 2
        )

    @property
    def held(self) -> int:
        return sum(map(self.holds, self.shares))

    @property
    def failed(self) -> list[str]:
        return [name for name in self.shares if not self.holds(name)]

    def holds(self, name: str) -> bool:
        """A behaviour holds if it does so on every kernel on which it was judged."""
        found = [one for _, one in self.of(name)]
        return bool(found) and all(one.passed for one in found)

    def of(self, name: str) -> Iterator[tuple[OnKernel, Behaviour]]:
        for kernel in self.record.kernels:
            for one in kernel.behaviours:
                if one.name == name:
                    yield kernel, one

    @property
    def summary(self) -> str:
        """One line."""
        if not self.record.graded:
            return f"{self.record.outcome}: {self.record.why}"
        if not self.record.compiles:
            return "it does not compile"
        return f"{self.held} of {len(self.shares)} behaviours hold"


def grade(name: str, record: Record, weights: Weights) -> Grade:
    stage = BY_NAME.get(record.stage)
    names = dict.fromkeys(one.name for kernel in record.kernels for one in kernel.behaviours)
    shares = weights.shares(stage, names) if stage else {}
    return Grade(name, record, shares, weights.points[record.stage] if stage else 0.0)


def number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def reasons(one: Behaviour) -> list[tuple[str, str]]:
    """Why a behaviour does not hold, as pairs of a label and a text."""
    rows = [("", report.VERDICTS.get(one.verdict, "")), ("did", one.did), ("expected", one.wanted),
            ("saw", one.saw), ("note", one.note)]  # fmt: skip
    rows += [("kernel", text) for text in one.kernel]
    if one.verdict != "not-run":
        rows.append(("read", f"docs/labs/{one.page}"))
    return [(label, text) for label, text in rows if text]


def _why(grade: Grade, name: str) -> str:
    """The same as one text; with the kernel's name where there are several."""
    lines = []
    for kernel, one in grade.of(name):
        if one.passed:
            continue
        where = f" on the {kernel.name} kernel" if len(grade.record.kernels) > 1 else ""
        lines.append(f"{one.verdict}{where}")
        lines += [f"{label:8} {text}" if label else text for label, text in reasons(one)]
    return "\n".join(lines)


def _says(grade: Grade, name: str) -> str:
    return next(one.says for _, one in grade.of(name))


def _head(grade: Grade) -> str:
    lines = [grade.summary]
    lines += [kernel.messages for kernel in grade.record.kernels if kernel.messages]
    if not grade.record.graded:
        lines.append(NOT_GRADABLE_HELP)
    return "\n".join(lines)


# -- for machines -----------------------------------------------------------------------


def gradescope(grade: Grade) -> str:
    """https://gradescope-autograders.readthedocs.io/en/latest/specs/"""
    tests = []
    for at, (name, share) in enumerate(grade.shares.items(), 1):
        holds = grade.holds(name)
        tests.append({
            "name": _says(grade, name), "number": str(at),
            "status": "passed" if holds else "failed",
            "score": round(share.points, 4) if holds else 0, "max_score": round(share.points, 4),
            "output": _why(grade, name), "output_format": "text", "visibility": "visible",
        })  # fmt: skip
    result = {
        "score": grade.score, "output": _head(grade), "output_format": "text",
        "visibility": "visible", "stdout_visibility": "hidden", "tests": tests,
    }  # fmt: skip
    return json.dumps(result, indent=1) + "\n"


def _xml(text: str) -> str:
    return NOT_XML.sub("?", text)


def junit(grade: Grade) -> str:
    top = ElementTree.Element("testsuites", name="kmsgpipe")
    for kernel in grade.record.kernels:
        failures = len(kernel.behaviours) - kernel.held
        suite = ElementTree.SubElement(
            top, "testsuite", name=f"{grade.record.stage}.{kernel.name}",
            tests=str(len(kernel.behaviours)), failures=str(failures), errors="0",
        )  # fmt: skip
        for one in kernel.behaviours:
            case = ElementTree.SubElement(
                suite, "testcase", name=one.name,
                classname=f"kmsgpipe.{grade.record.stage}.{kernel.name}",
            )  # fmt: skip
            if not one.passed:
                failure = ElementTree.SubElement(
                    case, "failure", type=one.verdict, message=_xml(one.says)
                )
                failure.text = _xml("\n".join(f"{a:8} {b}" for a, b in reasons(one)))
        if not kernel.compiles:
            ElementTree.SubElement(suite, "system-err").text = _xml(kernel.messages)
    if not grade.record.graded:
        suite = ElementTree.SubElement(top, "testsuite", name=grade.record.stage or "kmsgpipe",
                                       tests="1", failures="0", errors="1")  # fmt: skip
        case = ElementTree.SubElement(suite, "testcase", name="gradable", classname="kmsgpipe")
        ElementTree.SubElement(case, "error", message=_xml(grade.record.why))
    ElementTree.indent(top)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(top, "unicode") + "\n"


def ktap(grade: Grade) -> str:
    """https://docs.kernel.org/dev-tools/ktap.html: one subtest for each kernel."""
    lines = ["KTAP version 1", f"1..{len(grade.record.kernels)}"]
    for at, kernel in enumerate(grade.record.kernels, 1):
        inner = ["KTAP version 1", f"# Subtest: {grade.record.stage} on {kernel.name}",
                 f"1..{len(kernel.behaviours)}"]  # fmt: skip
        for place, one in enumerate(kernel.behaviours, 1):
            inner += [f"# {label}: {text}" if label else f"# {text}"
                      for label, text in ([] if one.passed else reasons(one))]  # fmt: skip
            inner.append(f"{'ok' if one.passed else 'not ok'} {place} {one.name}")
        holds = kernel.held == len(kernel.behaviours) and kernel.compiles
        lines += [f"  {line}" for line in inner]
        lines.append(f"{'ok' if holds else 'not ok'} {at} {grade.record.stage} on {kernel.name}")
    if not grade.record.graded:
        lines.append(f"# {grade.summary}")
    return "\n".join(lines) + "\n"


# -- for people -------------------------------------------------------------------------

STYLE = """
body { font: 16px/1.45 sans-serif; max-width: 52em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; width: 100% }
td { border-top: 1px solid #bbb; padding: .3em .6em; vertical-align: top }
td.mark { width: 3.5em; font-weight: bold } td.points { text-align: right; white-space: nowrap }
.ok .mark { color: #17692a } .fail .mark { color: #a11212 }
pre, dd { font: 14px/1.4 monospace; white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 }
dl { display: grid; grid-template-columns: 6em 1fr; margin: .3em 0 } dt { color: #555 }
"""
# The page shows a stranger's words: it loads nothing and runs nothing.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def page(grade: Grade) -> str:
    """A student's page: it stands alone, and has nothing in it that runs."""
    say = html.escape
    stage = BY_NAME.get(grade.record.stage)
    title = f"{stage.name}: {stage.title}" if stage else "kmsgpipe"
    body = [f"<h1>{say(grade.name)}</h1>", f"<p>{say(title)}</p>",
            f"<p><strong>{number(grade.score)} of {number(grade.points)} points</strong>: "
            f"{say(grade.summary)}</p>"]  # fmt: skip
    if not grade.record.graded:
        body.append(f"<p>{NOT_GRADABLE_HELP}</p>")
    if grade.record.origin:
        body.append(f"<p>The source that counts: {say(shown(grade.record.origin))}</p>")
    for kernel in grade.record.kernels:
        body.append(f"<p>Judged on {say(kernel.label)}.</p>")
        if kernel.messages:
            body.append(f"<h2>What the compiler said</h2>\n<pre>{say(kernel.messages)}</pre>")
    if grade.record.compiles:
        rows = [_row(grade, name, share) for name, share in grade.shares.items()]
        body += ["<table>", *rows, "</table>"] if rows else []
    return PAGE.format(title=say(f"{grade.name}, {title}"), style=STYLE, body="\n".join(body))


def _row(grade: Grade, name: str, share: Share) -> str:
    say = html.escape
    holds = grade.holds(name)
    cells = [f"<p>{say(_says(grade, name))}</p>" if not holds else say(_says(grade, name))]
    for kernel, one in grade.of(name):
        if one.passed:
            continue
        where = f" on the {kernel.name} kernel" if len(grade.record.kernels) > 1 else ""
        pairs = "".join(f"<dt>{say(a)}</dt><dd>{say(b)}</dd>" for a, b in reasons(one))
        cells.append(f"<p>{say(one.name)}: {say(one.verdict)}{say(where)}</p><dl>{pairs}</dl>")
    got = number(share.points if holds else 0)
    return (f'<tr class="{"ok" if holds else "fail"}"><td class="mark">{"ok" if holds else "FAIL"}'
            f'</td><td>{"".join(cells)}</td><td class="points">{got} / {number(share.points)}</td>'
            "</tr>")  # fmt: skip


def _wrapped(label: str, text: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=f"        {label:8} ", subsequent_indent=" " * 17,
        break_on_hyphens=False,
    )  # fmt: skip


def lines(grade: Grade) -> Iterator[str]:
    """For the terminal: one line a behaviour, and why it does not hold."""
    for kernel in grade.record.kernels:
        if kernel.messages:
            yield f"\n{kernel.messages}\n"
    for name in grade.shares if grade.record.compiles else ():
        holds = grade.holds(name)
        mark = report.colour("32", "ok  ") if holds else report.colour("31", "FAIL")
        yield f"  {mark}  {_says(grade, name)}"
        for kernel, one in grade.of(name):
            if not one.passed:
                where = f" ({kernel.name} kernel)" if len(grade.record.kernels) > 1 else ""
                yield f"        {one.name}: {one.verdict}{where}"
                yield from (_wrapped(label, text) for label, text in reasons(one))


def write(grade: Grade, folder: Path) -> None:
    """All files of one submission."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(FILES, (gradescope(grade), junit(grade), ktap(grade), page(grade))):
        (folder / name).write_text(text, encoding="utf-8")
