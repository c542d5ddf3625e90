"""What a behaviour is worth: one INI file for a course, see weights.ini.

A pattern names behaviours as a shell does (`poll_*`); the last one that fits counts. One
that fits none is refused: a typing error must not cost anybody points.
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Iterable

from ..errors import UsageError
from ..stages import BY_NAME, Stage
from ..tests import TestInfo

FILE = Path(__file__).with_name("weights.ini")
SECTIONS = ("course", "behaviours", *BY_NAME, *(f"{name} behaviours" for name in BY_NAME))
FACTS = {"course": ("name", "points"), **{name: ("points",) for name in BY_NAME}}


@dataclass(frozen=True)
class Share:
    """One behaviour's part of the points."""

    name: str
    points: float
    weight: float


@dataclass(frozen=True)
class Weights:
    """The file, checked."""

    course: str
    points: dict[str, float]  # by stage
    patterns: dict[str, list[tuple[str, float]]]  # by section

    def of(self, stage: Stage, name: str) -> float:
        weight = 1.0
        for section in ("behaviours", f"{stage.name} behaviours"):
            for pattern, value in self.patterns.get(section, ()):
                if fnmatchcase(name, pattern):
                    weight = value
        return weight

    def shares(self, stage: Stage, names: Iterable[str]) -> dict[str, Share]:
        """The stage's points, dealt out to these behaviours."""
        weights = {name: self.of(stage, name) for name in names}
        total = sum(weights.values())
        points = self.points[stage.name]
        return {name: Share(name, points * weight / total if total else 0.0, weight)
                for name, weight in weights.items()}  # fmt: skip


def _number(where: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1_000_000:
        raise UsageError(f"{where} = {text}: it has to be a number, 0 or more")
    return value


def read(path: Path, tests: Iterable[TestInfo]) -> Weights:
    """The weights in a file; UsageError says in which line of thought it is wrong."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    except configparser.Error as error:
        raise UsageError(str(error).replace("\n", " ")) from None
    for section in parser.sections():
        if section not in SECTIONS:
            raise UsageError(f"{path}: [{section}] is none of {', '.join(SECTIONS)}")
        unknown = set(parser[section]) - set(FACTS.get(section, parser[section]))
        if unknown:
            raise UsageError(f"{path}: [{section}] has no {', '.join(sorted(unknown))}")
    default = _number("points", parser.get("course", "points", fallback="100"))
    points = {name: _number(f"{path}: [{name}] points",
                            parser.get(name, "points", fallback=str(default)))
              for name in BY_NAME}  # fmt: skip
    patterns = {}
    for section in parser.sections():
        if not section.endswith("behaviours"):
            continue
        stage = BY_NAME.get(section.partition(" ")[0])
        names = [test.name for test in tests if not stage or test.judges(stage.number)]
        patterns[section] = [(pattern, _number(f"{path}: {pattern}", value))
                             for pattern, value in parser[section].items()]  # fmt: skip
        for pattern, _ in patterns[section]:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise UsageError(f"{path}: [{section}] {pattern} fits no behaviour"
                                 f"{f' of {stage.name}' if stage else ''}; "
                                 "`make test V=1` shows their names")  # fmt: skip
    return Weights(parser.get("course", "name", fallback="kmsgpipe"), points, patterns)
