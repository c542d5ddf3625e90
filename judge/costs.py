"""What each test took when it last passed on a kernel: to deal the next run out evenly.

Only a matter of speed. Without the file, or with a wrong one, the tests are dealt out
less evenly, and that is all. A kernel's own checks cost some tests twice what is usual there,
and others ten times: so each kernel has a file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Sequence

from . import cache
from .trial import Verdict
from .vm import Machine


def _file(machine: Machine) -> Path:
    return cache.root() / f"costs-{cache.digest(str(machine.image))}.json"


def known(machine: Machine) -> dict[str, int]:
    """Milliseconds by the name of the test."""
    try:
        costs = json.loads(_file(machine).read_text())
        return {str(name): int(ms) for name, ms in costs.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def remember(machine: Machine, verdicts: Sequence[Verdict]) -> None:
    passed = {verdict.test.name: verdict.ms for verdict in verdicts if verdict.passed}
    cache.write_atomic(_file(machine), json.dumps({**known(machine), **passed}, indent=1))
