"""The TSC's rate: measured once, and noted."""

from __future__ import annotations

import json
import platform
import unittest
from unittest import mock

from judge import cache, tsc

from .trees import Scratch


class Tsc(Scratch):
    def setUp(self) -> None:
        super().setUp()
        tsc.options.cache_clear()
        self.addCleanup(tsc.options.cache_clear)

    @unittest.skipUnless(platform.machine() == "x86_64", "no TSC here")
    def test_two_measurements_agree(self) -> None:
        one, other = tsc.measure(), tsc.measure()
        self.assertGreater(one, 100_000)
        self.assertLess(abs(one - other), one // 1000)

    def test_measured_once(self) -> None:
        with mock.patch.object(tsc, "measure", side_effect=[2_096_031, 2_096_077]):
            self.assertEqual(tsc.options(), ("tsc_early_khz=2096031",))
            tsc.options.cache_clear()
            self.assertEqual(tsc.options(), ("tsc_early_khz=2096031",))

    def test_a_damaged_note_is_made_anew(self) -> None:
        for text in ("", "[1]", '{"x": "y"}'):
            (cache.root() / "tsc.json").write_text(text)
            tsc.options.cache_clear()
            with mock.patch.object(tsc, "measure", return_value=7):
                self.assertEqual(tsc.options(), ("tsc_early_khz=7",))
            self.assertIn(7, json.loads((cache.root() / "tsc.json").read_text()).values())

    def test_where_it_cannot_be_measured_the_guest_does(self) -> None:
        with mock.patch.object(tsc, "measure", return_value=None):
            self.assertEqual(tsc.options(), ())


if __name__ == "__main__":
    unittest.main()
