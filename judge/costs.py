"""What each test took when it last passed: to deal the next run out evenly.

Only a matter of speed. Without the file, or with a wrong one, the tests are dealt out
less evenly, and that is all.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Sequence

from . import cache
from .trial import Verdict


def _file() -> Path:
    return cache.root() / "costs.json"


def known() -> dict[str, int]:
    """Milliseconds by the name of the test."""
    try:
        costs = json.loads(_file().read_text())
        return {str(name): int(ms) for name, ms in costs.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def remember(verdicts: Sequence[Verdict]) -> None:
    passed = {verdict.test.name: verdict.ms for verdict in verdicts if verdict.passed}
    cache.write_atomic(_file(), json.dumps({**known(), **passed}, indent=1))
