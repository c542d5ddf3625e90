"""The zoo: its files are well-formed and fit the sources; a miss is never taken for a catch."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from judge import arch, image, patch, zoo
from judge.build import BuildFailed, Built
from judge.errors import CannotTest, UsageError
from judge.kinds import KINDS, TABLE
from judge.klog import Report
from judge.report import VERDICTS
from judge.stages import BY_NAME, STAGES, TREE
from judge.tests import TestInfo
from judge.trial import LOADS, Verdict
from judge.vm import Machine

LAB3 = BY_NAME["lab3"]
MACHINE = Machine(arch.host(), "tcg", Path("image"), Path("initrd"))
TEXT = "one\ntwo\nthree\nfour\n"
DIFF = """\
--- a/x.c
+++ b/x.c
@@ -1,3 +1,3 @@ somewhere
 one
-two
+2
 three
"""
FILE = "Bug: it is wrong\nCaught-by: first second\nKernel: stock\n\n" + DIFF
MOST_CHANGED = 80
LEAST = {"lab1": 6, "lab2": 12, "lab3": 16, "lab4": 12, "lab5": 20, "lab6": 12, "capstone": 12}
LEAST_RIGHT = 3


class Patches(unittest.TestCase):
    def test_applies(self) -> None:
        self.assertEqual(patch.parse("Bug: x\n\n" + DIFF).apply(TEXT), "one\n2\nthree\nfour\n")

    def test_line_numbers_do_not_count(self) -> None:
        self.assertEqual(patch.parse(DIFF).apply("zero\n" * 9 + TEXT),
                         "zero\n" * 9 + "one\n2\nthree\nfour\n")  # fmt: skip

    def test_several_hunks(self) -> None:
        more = DIFF + "@@ -4 +4,2 @@\n four\n+five\n"
        self.assertEqual(patch.parse(more).apply(TEXT), "one\n2\nthree\nfour\nfive\n")

    def test_empty_context_without_its_blank(self) -> None:
        diff = "--- a/x.c\n+++ b/x.c\n@@ -1,3 +1,3 @@\n one\n\n-two\n+2\n"
        self.assertEqual(patch.parse(diff).apply("one\n\ntwo\n"), "one\n\n2\n")

    def test_context_has_to_fit(self) -> None:
        for text in (TEXT.replace("one", "ONE"), TEXT.replace("two", " two"),
                     TEXT.replace("three", "three "), "one\n\ntwo\nthree\n", ""):  # fmt: skip
            with self.subTest(text), self.assertRaisesRegex(patch.PatchFailed, "does not fit"):
                patch.parse(DIFF).apply(text)

    def test_in_one_place_only(self) -> None:
        with self.assertRaisesRegex(patch.PatchFailed, "`two` fits in 2 places"):
            patch.parse(DIFF).apply(TEXT + TEXT)

    def test_damaged(self) -> None:
        for wrong in (DIFF.replace("-1,3", "-1,4"), DIFF.replace("+1,3", "+1,9"),
                      DIFF.replace("+++ b/x.c\n", ""), DIFF.replace("b/x.c", "b/y.c"),
                      DIFF.replace(" three\n", "three\n"), DIFF.partition("@@")[0], ""):
            with self.subTest(wrong), self.assertRaises(patch.PatchFailed):
                patch.parse(wrong)


class Reports(unittest.TestCase):
    MARKED = DIFF.replace("+2\n", "+2 /* guilty: at */\n")

    def variant(self, kind: str = "leak", kernel: str = "debug") -> zoo.Variant:
        head = f"Bug: it is wrong\nCaught-by: a\nReport: {kind}\nKernel: {kernel}\n\n"
        return zoo.parse("lab3/x", head + self.MARKED, LAB3)

    def wrong(self, kind: str, line: int) -> list[str]:
        verdict = Verdict(SimpleNamespace(name="a"), False, "kernel-report")
        if kind:
            verdict.reports.append(Report(KINDS[kind], "BUG", places={"at": ("f", 0)}))
        source = patch.parse(self.MARKED).apply(TEXT)
        place = f"/there/kmsgpipe_wait.c:{line}", "f"
        with mock.patch.object(zoo.Variant, "source", return_value=source), mock.patch.object(
            zoo.klog, "locate", return_value=place
        ):
            return zoo.wrong_report(self.variant(), Built(Path("x.ko"), b"", ""), [verdict])

    def test_kind_and_line(self) -> None:
        self.assertEqual(self.wrong("leak", 2), [])
        self.assertEqual(self.wrong("leak", 3),
                         ["at: kmsgpipe_wait.c:3, where kmsgpipe_wait.c:2 is to blame"])  # fmt: skip
        self.assertIn("it is taken for list", self.wrong("list", 2)[0])
        self.assertIn("no report at all", self.wrong("", 2)[0])

    def test_of_a_lab_kernel_and_a_known_kind(self) -> None:
        for kind, kernel in (("leek", "debug"), ("leak", "stock debug")):
            with self.subTest(kind), self.assertRaisesRegex(zoo.BadVariant, "Report names"):
                self.variant(kind, kernel)


class Headers(unittest.TestCase):
    def test_all(self) -> None:
        one = zoo.parse("lab3/x", FILE.replace("Kernel", "Verdict: hung crashed\nKernel"), LAB3)
        self.assertEqual((one.name, one.stage, one.bug), ("lab3/x", LAB3, "it is wrong"))
        self.assertEqual(one.caught_by, ("first", "second"))
        self.assertEqual((one.verdicts, one.wanted), (("hung", "crashed"), "hung/crashed"))
        self.assertEqual((one.diff, one.of_harness), (DIFF, False))

    def test_stage_of_the_harness(self) -> None:
        one = zoo.parse("harness/x", "Stage: lab2\n" + FILE, None)
        self.assertEqual((one.stage, one.of_harness), (BY_NAME["lab2"], True))
        for text in (FILE, "Stage: lab9\n" + FILE):
            with self.assertRaisesRegex(zoo.BadVariant, "Stage is missing"):
                zoo.parse("harness/x", text, None)

    def test_missing(self) -> None:
        for line in FILE.splitlines()[:3]:
            word = line.partition(":")[0]
            with self.subTest(word), self.assertRaisesRegex(zoo.BadVariant, f"{word} is missing"):
                zoo.parse("x", FILE.replace(line + "\n", ""), LAB3)
        with self.assertRaisesRegex(zoo.BadVariant, "the diff is missing"):
            zoo.parse("x", FILE.partition("---")[0], LAB3)

    def test_what_does_not_compile_needs_no_test(self) -> None:
        text = FILE.replace("Caught-by: first second", "Verdict: does-not-compile")
        self.assertEqual(zoo.parse("x", text, LAB3).caught_by, ())

    def test_unknown_or_twice(self) -> None:
        for line in ("Caught: first", "no header", "Bug: again", "Verdict:", "Kernel: stock"):
            with self.subTest(line), self.assertRaises(zoo.BadVariant):
                zoo.parse("x", f"{line}\n{FILE}", LAB3)

    def test_unknown_kernel(self) -> None:
        with self.assertRaisesRegex(zoo.BadVariant, "no kernel is called dos"):
            zoo.parse("x", FILE.replace("stock", "stock dos"), LAB3)

    def test_kernels(self) -> None:
        one = zoo.parse("x", FILE.replace("stock", "stock debug"), LAB3)
        self.assertEqual(one.kernels, ("stock", "debug"))

    def test_what_a_kernel_is_called(self) -> None:
        for asked, config, word in (
            ("", {}, "stock"),
            ("6.12", {}, "stock"),
            ("debug", {"CONFIG_KASAN": "y"}, "debug"),
            ("/src/linux", {}, "stock"),
            ("/src/linux", {"CONFIG_KASAN": "y"}, "debug"),
            ("/src/linux", {"CONFIG_KCSAN": "y"}, "race"),
        ):
            with self.subTest(asked, config=config):
                self.assertEqual(zoo.kernel_word(asked, config), word)


class TheFiles(unittest.TestCase):
    """Every variant that stands in judge/zoo/."""

    def test_enough(self) -> None:
        names = [variant.name.partition("/")[0] for variant in zoo.variants()]
        for group, least in LEAST.items():
            self.assertGreaterEqual(names.count(group), least, group)
        right = [right.stage.name for right in zoo.right_ones()]
        for stage in STAGES[1:6]:
            self.assertGreaterEqual(right.count(stage.name), LEAST_RIGHT, stage.name)

    def test_no_stray_files(self) -> None:
        known = {zoo.FOLDER / f"{variant.name}.patch" for variant in zoo.variants()}
        known |= {right.path for right in zoo.right_ones()}
        self.assertEqual({path for path in zoo.FOLDER.rglob("*") if path.is_file()}, known)

    def test_each_applies_and_changes_something(self) -> None:
        for variant in zoo.variants():
            with self.subTest(variant.name):
                self.assertNotEqual(variant.source(), (TREE / variant.stage.source).read_text())

    def test_no_two_are_alike(self) -> None:
        seen: dict[str, str] = {}
        for variant in zoo.variants():
            twin = seen.setdefault(variant.source(), variant.name)
            self.assertEqual(twin, variant.name)

    def test_small(self) -> None:
        for variant in zoo.variants():
            changed = [row for row in variant.diff.splitlines() if row[:1] in "+-"]
            self.assertLess(len(changed), MOST_CHANGED, variant.name)

    def test_verdicts_are_words_of_the_judge(self) -> None:
        for variant in zoo.variants():
            self.assertLessEqual({*variant.verdicts}, {*VERDICTS, zoo.COMPILES_NOT}, variant.name)

    @unittest.skipUnless(shutil.which("gcc"), "needs gcc")
    def test_the_tests_exist(self) -> None:
        try:
            known = image.tests(arch.host())
        except CannotTest as why:
            self.skipTest(str(why))
        for variant in zoo.variants():
            with self.subTest(variant.name):
                names = [test.name for test in zoo.tests_of(variant, known)]
                self.assertEqual({*names}, {LOADS, *variant.caught_by})

    @unittest.skipUnless(shutil.which("patch"), "needs patch")
    def test_patch_1_reads_them_too(self) -> None:
        for variant in zoo.variants():
            with self.subTest(variant.name), tempfile.TemporaryDirectory() as folder:
                copy = Path(folder) / "copy.c"
                shutil.copy(TREE / variant.stage.source, copy)
                subprocess.run(["patch", "-s", "--no-backup-if-mismatch", copy], text=True,
                               input=variant.diff, check=True)  # fmt: skip
                self.assertEqual(copy.read_text(), variant.source())


def info(name: str, cpus: int = 1) -> TestInfo:
    return TestInfo.parse(f"{name}\t8\t{cpus}\tlab3.md\tit works\t64")


def verdict(name: str, word: str, seconds: float = 1.0) -> Verdict:
    return Verdict(info(name), word == "passed", word, seconds=seconds, allowed=7.0)


class Comparing(unittest.TestCase):
    def test_caught_is_enough(self) -> None:
        variant = zoo.parse("lab3/x", FILE, LAB3)
        for word, name, enough in (
            ("failed", "second", True), ("passed", "second", False), ("not-run", "first", False),
            ("failed", LOADS, False),
        ):  # fmt: skip
            with self.subTest(word=word, name=name):
                self.assertEqual(variant.enough(verdict(name, word)), enough)
        # How the harness ends is what these are about.
        self.assertFalse(replace(variant, of_harness=True).enough(verdict("first", "failed")))

    def test_the_one_that_was_left_out(self) -> None:
        variant = zoo.parse("lab3/x", FILE, LAB3)
        caught = zoo.compare(variant, [verdict(LOADS, "passed"), verdict("second", "failed")])
        self.assertFalse(caught.missed)
        self.assertEqual(caught.got, "failed (second)")

    def compare(self, *words: str, wanted: str = "", loads: str = "passed",
                seconds: float = 1.0) -> zoo.Catch:  # fmt: skip
        text = FILE.replace("Kernel", f"Verdict: {wanted}\nKernel") if wanted else FILE
        verdicts = [verdict(LOADS, loads)]
        verdicts += [verdict(name, word, seconds) for name, word in zip(("first", "second"), words)]
        return zoo.compare(zoo.parse("lab3/x", text, LAB3), verdicts)

    def test_either_is_enough(self) -> None:
        for words in (("failed", "passed"), ("passed", "time-out"), ("hung", "not-run")):
            catch = self.compare(*words)
            self.assertFalse(catch.missed)
            self.assertIn(next(word for word in words if word not in zoo.NO_CATCH), catch.got)

    def test_a_pass_is_a_miss(self) -> None:
        catch = self.compare("passed", "passed")
        self.assertEqual(catch.why, ["first: passed", "second: passed"])

    def test_no_verdict_of_its_own_is_a_miss(self) -> None:
        for word in ("not-run", "log-lost", "forged"):
            self.assertTrue(self.compare(word, "passed").missed)

    def test_the_verdict_wanted(self) -> None:
        self.assertTrue(self.compare("failed", "failed", wanted="unkillable").missed)
        self.assertFalse(self.compare("failed", "hung", wanted="unkillable hung").missed)
        self.assertFalse(self.compare("forged", "passed", wanted="forged").missed)

    def test_it_has_to_load(self) -> None:
        catch = self.compare("failed", "failed", loads="cannot-load")
        self.assertIn("it does not even load: cannot-load", catch.why)

    def test_unless_that_is_the_bug(self) -> None:
        text = FILE.replace("first second", LOADS)
        catch = zoo.compare(zoo.parse("x", text, LAB3), [verdict(LOADS, "cannot-load")])
        self.assertFalse(catch.missed)

    def test_late(self) -> None:
        self.assertFalse(self.compare("time-out", "passed", seconds=6.9).missed)
        self.assertTrue(self.compare("time-out", "passed", seconds=7.6).missed)

    def test_a_miss_says_what_the_kernel_said(self) -> None:
        one = verdict("first", "failed")
        one.saw, one.reports = "7", [Report(TABLE[0], "BUG: KASAN: use-after-free")]
        variant = zoo.parse("x", FILE.replace("Kernel", "Verdict: hung\nKernel"), LAB3)
        catch = zoo.compare(variant, [verdict(LOADS, "passed"), one, verdict("second", "passed")])
        self.assertEqual(catch.why, ["first: failed", "  saw 7",
                                     "  kernel BUG: KASAN: use-after-free", "second: passed"])


class Choosing(unittest.TestCase):
    def test_stages(self) -> None:
        every = [*zoo.variants(), *zoo.right_ones()]
        self.assertEqual(zoo.choose(STAGES, False), every)
        some = zoo.choose([LAB3], True)
        self.assertEqual({variant.name.rpartition("/")[0] for variant in some},
                         {"lab3", "right/lab3"})  # fmt: skip
        self.assertLess(len(some), len(every))

    def test_one(self) -> None:
        name = zoo.choose([LAB3], True)[0].name
        for word in (name, name.partition("/")[2]):
            self.assertIn(name, [variant.name for variant in zoo.choose([LAB3], True, word)])

    def test_a_right_one(self) -> None:
        right = zoo.right_ones()[0]
        for word in (right.name, f"{right.stage.name}/{right.path.stem}", right.path.stem):
            self.assertIn(right, zoo.choose([right.stage], True, word))

    def test_one_of_the_harness(self) -> None:
        one = next(variant for variant in zoo.variants() if variant.of_harness)
        self.assertIn(one, zoo.choose(STAGES, False, one.name))

    def test_patterns(self) -> None:
        wrong = [one for one in zoo.variants() if one.stage is LAB3 and not one.of_harness]
        self.assertEqual(zoo.choose([LAB3], True, "lab3/*"),
                         [*wrong, *(one for one in zoo.right_ones() if one.stage is LAB3)])
        self.assertEqual(zoo.choose([LAB3], True, "right/*"),
                         [one for one in zoo.right_ones() if one.stage is LAB3])
        first, last = wrong[0].name, wrong[-1].name
        for words in (f"{last} {first}", f"{last},{first}"):
            self.assertEqual(zoo.choose([LAB3], True, words), [wrong[0], wrong[-1]])

    def test_exceptions(self) -> None:
        wrong = [one for one in zoo.variants() if one.stage is LAB3 and not one.of_harness]
        self.assertEqual(zoo.choose([LAB3], True, "!right/*"), wrong)
        self.assertEqual(zoo.choose([LAB3], True, f"right/* {wrong[0].name} !right/*"), wrong[:1])
        with self.assertRaisesRegex(UsageError, "VARIANT=!nobody"):
            zoo.choose([LAB3], True, "!nobody")

    def test_unknown(self) -> None:
        with self.assertRaisesRegex(UsageError, "VARIANT=nobody"):
            zoo.choose(STAGES, False, "nobody")
        with self.assertRaisesRegex(UsageError, "VARIANT=nobody"):
            zoo.choose(STAGES, False, f"{zoo.variants()[0].name} nobody")


class Lanes(unittest.TestCase):
    """On which VMs a driver is judged, with the real deal()."""

    def test_a_wrong_one_needs_one_vm(self) -> None:
        variant = next(v for v in zoo.variants() if v.stage is LAB3)
        lanes = variant.lanes(MACHINE, [info("a"), info("b", cpus=2)])
        self.assertEqual([(lane.machine.cpus, lane.names) for lane in lanes], [(2, ["a", "b"])])

    def test_a_right_one_has_all_that_make_test_has(self) -> None:
        tests = [info("a"), info("b", cpus=2)]
        lanes = zoo.right_ones()[0].lanes(MACHINE, tests)
        self.assertEqual([(lane.machine.cpus, lane.names) for lane in lanes],
                         [(1, ["a"]), (2, ["b"])])  # fmt: skip


class Running(unittest.TestCase):
    """run_one() and run(), with no compiler and no VM."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory())) \
            if hasattr(self, "enterContext") else Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.variant = next(v for v in zoo.variants() if v.stage is LAB3 and v.caught_by)
        self.known = [info(name) for name in (LOADS, *self.variant.caught_by)]
        self.words = ["passed", "failed", "passed", "passed"]
        self.compiles, self.messages = True, ""
        self.machine = MACHINE
        for where, name, value in ((zoo, "build", self.build), (zoo, "Trial", self.trial),
                                   (zoo, "workers", lambda: 1),
                                   (zoo.leftovers, "adopt_orphans", lambda: None)):  # fmt: skip
            patcher = mock.patch.object(where, name, value)
            patcher.start()
            self.addCleanup(patcher.stop)
        root = mock.patch.object(zoo.cache, "root", lambda: self.folder)
        root.start()
        self.addCleanup(root.stop)

    def build(self, stage, kernel, tree, options):
        self.assertEqual((tree / stage.source).read_text(), self.variant.source())
        self.assertEqual(options, self.variant.options)
        if not self.compiles:
            raise BuildFailed("error: no")
        return Built(Path("x.ko"), b"", self.messages)

    def trial(self, stage, built, machine, tests):
        run = lambda *_: [verdict(t.name, word) for t, word in zip(tests, self.words)]  # noqa: E731
        return SimpleNamespace(run=run)

    def lines(self, most: int = 1) -> tuple[int, list[str]]:
        said: list[str] = []
        return zoo.run([self.variant], None, self.machine, self.known, said.append, most), said

    def test_caught(self) -> None:
        status, said = self.lines()
        self.assertEqual(status, 0)
        self.assertRegex(said[-1], r"^zoo: 1 as wanted, 0 not \(0 s, 1 at a time\)$")
        self.assertRegex(said[0], rf"^ok +0\.\d s  {self.variant.name} +wanted .*, got failed \(")

    def test_a_second_try_is_asked_for_and_told(self) -> None:
        rounds = [["passed"] * 4, ["passed", "failed", "passed", "passed"]]

        def trial(stage, built, machine, tests):
            self.words = rounds.pop(0)
            return self.trial(stage, built, machine, tests)

        with mock.patch.object(zoo, "Trial", trial):
            status, said = self.lines(most=3)
        self.assertEqual((status, rounds), (0, []))
        self.assertIn("\nTry 2, one at a time:", said)
        self.assertNotIn("\nTry 3, one at a time:", said)
        self.assertRegex("\n".join(said), rf"ok .* {self.variant.name} .*, try 2\n")
        self.assertIn("zoo: 1 as wanted, 0 not", said[-2])
        self.assertEqual(said[-1], f"not at the first try: {self.variant.name}")

    def test_a_right_one_has_one_try(self) -> None:
        refused = zoo.Catch(zoo.right_ones()[0], "38 of 39 passed", ["a_test: failed"])
        judge = mock.Mock(return_value=refused)
        zoo._judge_all([refused.variant], self.folder, judge, lambda line: None, 3)
        self.assertEqual(judge.call_count, 1)

    def test_missed_at_every_try(self) -> None:
        self.words = ["passed"] * 4
        status, said = self.lines(most=2)
        self.assertEqual(status, 1)
        self.assertIn("zoo: 0 as wanted, 1 not", said[-1])

    def test_tries_has_to_be_a_number(self) -> None:
        for text, tries in (("", 1), ("2", 2)):
            with mock.patch.dict(os.environ, TRIES=text):
                self.assertEqual(zoo.tries(), tries)
        for text in ("0", "x", "99", "-1", "²"):
            with mock.patch.dict(os.environ, TRIES=text), self.assertRaises(UsageError):
                zoo.tries()

    def test_missed(self) -> None:
        self.words = ["passed"] * 4
        status, said = self.lines()
        self.assertEqual(status, 1)
        self.assertIn("zoo: 0 as wanted, 1 not", said[-1])
        self.assertTrue(said[0].startswith("MISSED"))
        self.assertIn(["lab3", "0", "1", "0.0"], [row.split() for row in said])

    def be_right(self) -> None:
        self.variant = next(right for right in zoo.right_ones() if right.stage is LAB3)
        self.known = [info("a"), info("b"), TestInfo.parse("c\t4\t1\tlab2.md\tlab 2\t64")]

    def test_right(self) -> None:
        self.be_right()
        self.words = ["passed", "passed"]
        status, said = self.lines()
        self.assertEqual(status, 0)
        self.assertIn("wanted all tests passed, got 2 of 2 passed", said[0])

    def test_right_but_refused(self) -> None:
        self.be_right()
        self.words = ["passed", "failed"]
        status, said = self.lines()
        self.assertEqual(status, 1)
        self.assertIn("got 1 of 2 passed", said[0])
        self.assertIn("b: failed", "".join(said))

    def test_right_but_with_a_warning(self) -> None:
        self.be_right()
        self.messages = "x.c:1: warning: odd"
        status, said = self.lines()
        self.assertEqual(status, 1)
        self.assertIn("x.c:1: warning: odd", "".join(said))

    def test_compiles_not(self) -> None:
        self.compiles = False
        status, said = self.lines()
        self.assertEqual(status, 1)
        self.assertIn("error: no", "".join(said))

    def test_a_test_that_is_gone(self) -> None:
        self.known = self.known[:1]
        status, said = self.lines()
        self.assertEqual(status, 1)
        self.assertIn("no test of lab3 is called", "".join(said))

    def test_nothing_is_left(self) -> None:
        self.lines()
        self.assertFalse((self.folder / "zoo").exists())

    def test_what_is_left_behind_counts(self) -> None:
        run = zoo.run_one

        def untidy(*args):
            (self.folder / ".making.x").mkdir()
            return run(*args)

        with mock.patch.object(zoo, "run_one", untidy):
            status, said = self.lines()
        self.assertEqual(status, 1)
        self.assertIn(f"left behind: file {self.folder}/.making.x", said)


if __name__ == "__main__":
    unittest.main()
