"""The benchmark's figures, its ladder, and what it refuses; without a VM."""

from __future__ import annotations

import json
import os
import unittest
from unittest import mock

from judge.bench import command, figures, ladder, plot
from judge.errors import CannotTest, UsageError
from judge.stages import BY_NAME, TREE

LINES = [
    "figure thread floor 64 0 1264.0",
    "figure thread kmsgpipe 64 0 1737.0",
    "figure pair kmsgpipe 64 0 1.0 9.0 2.0 8.0 5.0",
    "figure depth kmsgpipe 64 10 1758.0",
    "figure depth kmsgpipe 64 100 1737.0",
    "done",
]


class Figures(unittest.TestCase):
    def setUp(self) -> None:
        self.found = list(figures.from_output(LINES))

    def test_read_from_what_the_guest_prints(self) -> None:
        self.assertEqual(self.found[1].row, ("thread", 64, 0))
        self.assertEqual(self.found[1].value, 1737)

    def test_median_and_half_of_the_quartiles_distance(self) -> None:
        self.assertEqual(self.found[2].value, 5)
        self.assertEqual(self.found[2].spread, 3)

    def test_a_run_that_breaks_off_is_none(self) -> None:
        for lines in ([], LINES[:-1], [*LINES[:2], "@exit 139"], ["error mq_open: no"]):
            with self.assertRaises(CannotTest):
                list(figures.from_output(lines))

    def test_a_line_that_is_no_figure(self) -> None:
        for line in ("figure thread pipe 64 0", "figure walk pipe 64 0 1.0"):
            with self.assertRaises(ValueError):
                figures.parse(line)

    def test_a_table_for_each_pattern(self) -> None:
        text = "\n".join(figures.tables(self.found, wall=False))
        self.assertIn("|    64 |  1264 |     1737 |", text)
        self.assertIn("| depth | kmsgpipe |", text)

    def test_json_is_the_same_for_the_same_figures(self) -> None:
        text = figures.to_json(self.found, {"kernel": "6.1"})
        self.assertEqual(text, figures.to_json(self.found, {"kernel": "6.1"}))
        self.assertEqual(json.loads(text)["figures"][1]["values"], [1737.0])

    def test_the_picture_has_a_curve_for_each_channel(self) -> None:
        script = plot.script(self.found, TREE / "x.svg", "instructions, one CPU")
        self.assertIn("title 'floor'", script)
        self.assertEqual(script.count("\ne\n"), 3)

    def test_a_channel_has_one_colour(self) -> None:
        script = plot.script(self.found, TREE / "x.svg", "instructions, one CPU")
        self.assertEqual(script.count("lt 2 lw 3 title 'kmsgpipe'"), 2)


class Ladder(unittest.TestCase):
    def test_each_step_is_another_source(self) -> None:
        sources = [source for _, source in ladder.variants(BY_NAME["capstone"])]
        self.assertEqual(len(sources), len(ladder.patches()) + 1)
        self.assertEqual(len(set(sources)), len(sources))
        self.assertEqual(sources[-1], (TREE / BY_NAME["capstone"].source).read_text())


class Words(unittest.TestCase):
    def test_modes(self) -> None:
        with mock.patch.dict(os.environ, {"MODE": "wall"}):
            self.assertEqual(command.modes(), ["wall"])
        with mock.patch.dict(os.environ, {"MODE": "quick"}), self.assertRaises(UsageError):
            command.modes()

    def test_cells(self) -> None:
        with mock.patch.dict(os.environ, {"CELLS": "thread, pair/pipe/64"}):
            self.assertEqual(command.cells(), "thread pair/pipe/64")
        for wrong in ("threads", "thread/pipe/x", 'thread"', "thread/pipe/64/1"):
            with mock.patch.dict(os.environ, {"CELLS": wrong}), self.assertRaises(UsageError):
                command.cells()

    def test_only_the_capstone(self) -> None:
        capstone, lab3 = BY_NAME["capstone"], BY_NAME["lab3"]
        self.assertEqual(command.only_capstone([lab3, capstone], False), capstone)
        with self.assertRaises(UsageError):
            command.only_capstone([lab3], True)
