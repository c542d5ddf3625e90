"""What tests have cost: of each kernel apart, and never in the way."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from judge import cache, costs

STOCK, DEBUG = (SimpleNamespace(image=Path(name)) for name in ("/stock/bzImage", "/debug/vmlinux"))


def verdict(name: str, ms: int, passed: bool = True) -> SimpleNamespace:
    return SimpleNamespace(test=SimpleNamespace(name=name), ms=ms, passed=passed)


class Costs(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        patch = mock.patch.object(cache, "root", lambda: self.root)
        patch.start()
        self.addCleanup(patch.stop)

    def test_each_kernel_has_its_own(self) -> None:
        costs.remember(STOCK, [verdict("a", 5), verdict("b", 7)])
        costs.remember(DEBUG, [verdict("a", 90)])
        self.assertEqual(costs.known(STOCK), {"a": 5, "b": 7})
        self.assertEqual(costs.known(DEBUG), {"a": 90})

    def test_the_last_time_that_it_passed(self) -> None:
        costs.remember(STOCK, [verdict("a", 5), verdict("b", 7)])
        costs.remember(STOCK, [verdict("a", 6), verdict("b", 9000, passed=False)])
        self.assertEqual(costs.known(STOCK), {"a": 6, "b": 7})

    def test_nothing_is_known(self) -> None:
        self.assertEqual(costs.known(STOCK), {})
        costs.remember(STOCK, [verdict("a", 5)])
        for text in ("", "[1]", '{"a": "x"}'):
            next(self.root.glob("costs-*")).write_text(text)
            self.assertEqual(costs.known(STOCK), {})


if __name__ == "__main__":
    unittest.main()
