"""make grade without a VM: what is taken, what is refused, and what is written about it."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tempfile
import time
import unittest
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

from judge.errors import CannotTest, UsageError
from judge.grading import classroom, command, results, samples, sandbox, scan, weights
from judge.grading.compile import PLACE, files_read

from judge.grading.judging import (
    DOOR, GRADED, NOT_GRADABLE, Behaviour, OnKernel, Record, fingerprint, scratch_folder, steady,
)  # fmt: skip
from judge.grading.sandbox import Room, Sandbox
from judge.grading.submission import NotGradable, shown, take
from judge.stages import BY_NAME, TREE
from judge.tests import TestInfo

LAB2, LAB3, CAPSTONE = BY_NAME["lab2"], BY_NAME["lab3"], BY_NAME["capstone"]
TESTS = [TestInfo.parse(f"{name}\tff\t1\tlab1.md#x\t{name} works\t64")
         for name in ("loads", "reads", "poll_in", "poll_out")]  # fmt: skip
EVIL = 'a "b" <img src=x> &amp; \\x1b[2J ]]> {0} \u202e'


class Temporary(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext_(tempfile.TemporaryDirectory()))

    def enterContext_(self, manager):  # as in Python 3.11
        entered = manager.__enter__()
        self.addCleanup(manager.__exit__, None, None, None)
        return entered


class Taken(Temporary):
    """The samples, as far as they can be told without a compiler."""

    def setUp(self) -> None:
        super().setUp()
        (self.folder / "class").mkdir()
        self.ground = samples.Ground(self.folder / "class", LAB3, self.folder / "canary")

    def test_samples(self) -> None:
        for sample in samples.SAMPLES:
            with self.subTest(sample.name):
                path = self.ground.folder / sample.name
                sample.make(self.ground, path)
                why = ""
                try:
                    took = take(path, LAB3)
                    for name, data in took.files.items():
                        scan.plain(name, data.decode("utf-8", "replace"))
                except NotGradable as refused:
                    why = str(refused)
                by_compiling = sample.name in ("incbin-hidden", "shows-lines-of")
                if sample.becomes == samples.REFUSED and not by_compiling:
                    self.assertIn(sample.word, why)
                    self.assertTrue(why.isprintable(), why)
                else:
                    self.assertEqual(why, "")
                    if sample.becomes == samples.FULL:
                        self.assertIn(self.ground.reference.split(b"\n")[5], took.source)
        self.assertFalse(self.ground.canary.exists())

    def test_without_a_sandbox(self) -> None:
        for sample in (one for one in samples.SAMPLES if one.without_sandbox):
            with self.subTest(sample.name), self.assertRaises(NotGradable):
                path = self.ground.folder / sample.name
                sample.make(self.ground, path)
                scan.strict("x.c", take(path, LAB3).source.decode())

    def test_the_references_are_no_suspects(self) -> None:
        for stage in BY_NAME.values():
            for name in stage.sources:
                scan.plain(name, (TREE / name).read_text())
            if stage.name != "capstone":  # its tracepoints paste words together
                scan.strict(stage.name, (TREE / stage.source).read_text())

    def test_work_comes_before_what_has_the_same_name(self) -> None:
        for name in ("lab3_wait", "work/lab3_wait"):
            path = self.folder / "s" / name / "kmsgpipe_wait.c"
            path.parent.mkdir(parents=True)
            path.write_text(f"{name}\n")
        took = take(self.folder / "s", LAB3)
        self.assertEqual((took.source, took.origin),
                         (b"work/lab3_wait\n", "work/lab3_wait/kmsgpipe_wait.c"))  # fmt: skip

    def test_the_stage_is_found_if_there_is_one(self) -> None:
        (self.folder / "kmsgpipe_wait.c").write_text("x\n")
        self.assertEqual(take(self.folder).stage, LAB3)
        (self.folder / "kmsgpipe_buffered.c").write_text("x\n")
        with self.assertRaisesRegex(NotGradable, "lab2 and lab3: say which one counts"):
            take(self.folder)

    def test_one_file(self) -> None:
        path = self.folder / "smith (1).c"
        path.write_text("x\n")
        self.assertEqual(take(path, LAB3).files, {"kmsgpipe_wait.c": b"x\n"})
        with self.assertRaisesRegex(NotGradable, "of which lab"):
            take(path)

    def test_header_of_the_stage(self) -> None:
        (self.folder / "kmsgpipe_final.c").write_text("x\n")
        self.assertEqual(set(take(self.folder, CAPSTONE).files), {"kmsgpipe_final.c"})
        (self.folder / "kmsgpipe_trace.h").write_text("y\n")
        self.assertEqual(take(self.folder, CAPSTONE).files["kmsgpipe_trace.h"], b"y\n")
        (self.folder / "kmsgpipe_trace.h").unlink()
        (self.folder / "kmsgpipe_trace.h").symlink_to("/etc/passwd")
        with self.assertRaisesRegex(NotGradable, "is a link"):
            take(self.folder, CAPSTONE)

    def test_damaged_archives(self) -> None:
        good = self.folder / "good"
        makers = {
            ".tar.gz": samples.tar(lambda g: [(samples.entry(g.file), g.reference)]),
            ".zip": samples.packed(lambda g: {g.file: g.reference}),
        }
        for suffix, make in makers.items():
            make(self.ground, good)
            data = good.read_bytes()
            bad = self.folder / f"bad{suffix}"
            for at in range(0, len(data), max(1, len(data) // 60)):
                for cut in (data[:at], data[:at] + b"\xff\0\xff" + data[at + 3 :]):
                    bad.write_bytes(cut)
                    try:
                        take(bad, LAB3)
                    except NotGradable as refused:
                        self.assertTrue(str(refused).isprintable())

    def test_names(self) -> None:
        self.assertEqual(shown("plain-é.c"), "plain-é.c")
        for name in (
            "a\nb",
            "\x1b[2J",
            "\u202egpj.c",
            "a\u2028b",
            os.fsdecode(b"\xff\xfe"),
            "\x9b1m",
        ):
            self.assertTrue(shown(name).isprintable(), repr(name))
        self.assertLessEqual(len(shown("x" * 1000)), 100)


class Scanned(unittest.TestCase):
    REFUSED = (
        '#include "/etc/passwd"', "#include </etc/passwd>", '# include\t"../../x.h"',
        '#inc\\\nlude "/etc/passwd"', '%:include "/etc/passwd"', '/**/#/**/include "/etc/passwd"',
        '#include MACRO', '#include_next "/x"', '#import "/x"', '#embed "/etc/passwd"',
        'asm(".incbin \\"x\\"");', 'asm(".include \\"x\\"");', '"/*"\n#include "/x"\n"*/"',
        "'\"'\n#include \"/x\"\n", '// comment \\\n still\n#include "/x"',
    )  # fmt: skip
    FINE = (
        "#include <linux/fs.h>", '#include "kmsgpipe.h"', '#include "../include/kmsgpipe.h"',
        '/* #include "/etc/passwd" */', '// #include "/etc/passwd"', "#define INCLUDE 1",
        'pr_info("#include \\"/x\\"");',
    )  # fmt: skip

    def test_plain(self) -> None:
        for text in self.REFUSED:
            with self.subTest(text), self.assertRaises(NotGradable):
                scan.plain("x.c", text)
        for text in self.FINE:
            with self.subTest(text):
                scan.plain("x.c", text)

    def test_strict(self) -> None:
        for text in ("asm(x);", "__asm__ volatile(x);", "a ## b", "__PASTE(a, b)", '_Pragma("x")',
                     "#pragma GCC x", '# 1 "x"', "__has_include(x)", "??=include x",
                     "int \\u0061sm;", '__attribute__((section("x")))'):  # fmt: skip
            with self.subTest(text), self.assertRaises(NotGradable):
                scan.strict("x.c", text)

    def test_asking(self) -> None:
        for text in ('#if __has_include("/etc/x")', "#if __has\\\n_include(<x>)"):
            with self.subTest(text), self.assertRaises(NotGradable):
                scan.asking("x.c", text)
        scan.asking("x.c", "asm(x); a ## b")


class Caged(Temporary):
    """Each kind of sandbox that works here; at least bounds do everywhere."""

    def setUp(self) -> None:
        super().setUp()
        self.secret = self.folder / "secret"
        self.secret.write_text("xyzzy\n")
        self.cell = self.folder / "cell"
        self.room = Room(self.cell / "place", (self.cell / "headers",), self.cell / "root")
        for path in (self.room.place, self.room.readable[0]):
            path.mkdir(parents=True)
        (self.room.readable[0] / "x.h").write_text("header\n")
        os.chmod(self.folder, 0o755)
        self.kinds = [kind for kind in sandbox.KINDS if kind == "none"
                      or (kind != "bubblewrap" or shutil.which("bwrap"))
                      and sandbox.works(kind, self.folder / f"try-{kind}")]  # fmt: skip

    def run_in(self, kind: str, script: str, seconds: float = 20) -> sandbox.Done:
        return Sandbox(kind).run(self.room, ["sh", "-c", script], seconds)

    def test_files(self) -> None:
        for kind in self.kinds:
            with self.subTest(kind):
                script = (f"cat {self.room.readable[0]}/x.h; cat {self.secret}; "
                          f"echo 1 > {self.room.place}/{kind}; echo 1 > {self.secret}; "
                          f"echo 1 > {self.room.readable[0]}/new; true")  # fmt: skip
                done = self.run_in(kind, script)
                self.assertEqual((done.status, done.cut), (0, ""))
                self.assertIn("header", done.output)
                self.assertTrue((self.room.place / kind).exists())
                if kind != "none":
                    self.assertNotIn("xyzzy", done.output)
                    self.assertEqual(self.secret.read_text(), "xyzzy\n")
                    self.assertFalse((self.room.readable[0] / "new").exists())

    def test_bounds(self) -> None:
        for kind in self.kinds:
            with self.subTest(kind):
                self.assertIn("said more than", self.run_in(kind, "yes").cut)
                start = time.monotonic()
                self.assertIn("the compiler was ended after", self.run_in(kind, "exec sleep 60", 0.5).cut)
                self.assertIn("the compiler was ended after", self.run_in(kind, "exec sleep 60 >&- 2>&-", 0.5).cut)
                self.assertLess(time.monotonic() - start, 30)
                with mock.patch.object(sandbox, "MOST_FILE", 1 << 20):
                    full = self.run_in(kind, f"cat /dev/zero > {self.room.place}/full")
                self.assertNotEqual(full.status, 0)
                self.assertLessEqual((self.room.place / "full").stat().st_size, 1 << 20)
                (self.room.place / "full").unlink()

    def test_memory(self) -> None:
        for kind in self.kinds:
            with self.subTest(kind):
                done = self.run_in(kind, "dd if=/dev/zero of=/dev/null bs=2G count=1")
                self.assertIn("memory exhausted", done.output)

    def test_no_network(self) -> None:
        for kind in {"bubblewrap", "unshare"} & set(self.kinds):
            with self.subTest(kind):
                devices = self.run_in(kind, "cat /proc/net/dev").output.splitlines()[2:]
                self.assertEqual([line.split(":")[0].strip() for line in devices], ["lo"])

    def test_stop(self) -> None:
        cell = Sandbox("none")
        cell.stop()
        done = cell.run(self.room, ["sleep", "60"], 30)
        self.assertNotEqual(done.status, 0)

    def test_choice(self) -> None:
        with mock.patch.dict(os.environ, {"SANDBOX": "jail"}), self.assertRaises(UsageError):
            sandbox.choose(self.folder / "probe")
        with mock.patch.dict(os.environ, {"SANDBOX": ""}), \
             mock.patch.object(sandbox, "works", return_value=False):  # fmt: skip
            self.assertEqual(sandbox.choose(self.folder / "probe").kind, "none")
        with mock.patch.dict(os.environ, {"SANDBOX": "landlock"}), self.assertRaises(CannotTest), \
             mock.patch.object(sandbox, "works", return_value=False):  # fmt: skip
            sandbox.choose(self.folder / "probe")


class Compiled(Temporary):
    def test_what_was_read(self) -> None:
        (self.folder / ".x.o.cmd").write_text(
            "cmd_/p/x.o := gcc\n\nsource_/p/x.o := /p/x.c\n\ndeps_/p/x.o := \\\n"
            "    $(wildcard include/config/SMP) \\\n  /k/a.h \\\n  rel/b.h \\\n\n/p/x.o: $(deps)\n"
        )
        (self.folder / ".x.o.asm").write_text("/p/x.o: /tmp/cc1.s \\\n /etc/passwd\n")
        self.assertEqual(list(files_read(self.folder, "x.o")),
                         ["/k/a.h", "rel/b.h", "/tmp/cc1.s", "/etc/passwd"])  # fmt: skip

    def test_where_a_message_is_from(self) -> None:
        text = ("In file included from /a/x.c:3:\n/etc/passwd:1:5: error: x\n"
                "                 from /b/y.h:2,\n  3 | /c/z.c:1:\n")  # fmt: skip
        self.assertEqual(PLACE.findall(text), ["/a/x.c", "/etc/passwd", "/b/y.h"])

    def test_what_varies(self) -> None:
        self.assertEqual(steady("WARNING: CPU: 1 PID: 77 at x.c:3 f+0x12/0x40 [m]"),
                         "WARNING: at x.c:3 f+0x12/0x40 [m]")  # fmt: skip
        self.assertEqual(steady("fault at 0x6b6b6b6b6b6b6b6b: 0000"), "fault at ...: 0000")


def record(passed: dict[str, bool], stage: str = "lab3", kernels: tuple[str, ...] = ("stock",)):
    found = []
    for kernel in kernels:
        behaviours = [
            Behaviour(t.name, t.says, t.page, passed.get(t.name, True),
                      "passed" if passed.get(t.name, True) else "failed", saw=EVIL)
            for t in TESTS
        ]  # fmt: skip
        found.append(OnKernel(kernel, f"Linux ({kernel})", behaviours, EVIL))
    return Record(GRADED, stage, kernels=found)


class Scratch(Temporary):
    """Folders for compiling: nobody else's, and none is left."""

    def setUp(self) -> None:
        super().setUp()
        self.enterContext_(mock.patch.dict(os.environ, {"KMSGPIPE_CACHE": str(self.folder)}))
        self.top = self.folder / "grading"

    def left(self) -> list[Path]:
        return [path for path in self.top.iterdir() if path.name != DOOR]

    def test_gone_afterwards(self) -> None:
        with self.assertRaises(ZeroDivisionError), scratch_folder() as folder:
            (folder / "x").mkdir()
            _ = 1 / 0
        self.assertEqual(self.left(), [])

    def test_what_a_killed_run_left(self) -> None:
        with scratch_folder() as used:
            (self.top / "old").mkdir()
            with scratch_folder() as folder:
                self.assertEqual(set(self.left()), {used, folder})

    def test_many_at_once(self) -> None:
        def use(_: int) -> bool:
            with scratch_folder() as folder:
                (folder / "x").write_text("x")
                time.sleep(0)
                return (folder / "x").exists()

        with ThreadPoolExecutor(8) as pool:
            self.assertTrue(all(pool.map(use, range(400))))
        self.assertEqual(self.left(), [])


class Weighed(Temporary):
    def read(self, text: str) -> weights.Weights:
        path = self.folder / "w.ini"
        path.write_text(text)
        return weights.read(path, TESTS)

    def test_ours_is_in_order(self) -> None:
        names = ("module_loads_and_unloads", "x_in_32_bits")
        tests = [TestInfo.parse(f"{name}\tff\t1\tp\ts\t64") for name in names]
        self.assertEqual(weights.read(weights.FILE, tests).points["lab1"], 100)

    def test_the_last_pattern_counts(self) -> None:
        marks = self.read("[behaviours]\npoll_* = 3\npoll_in = 0\n[lab3 behaviours]\nloads = 2\n")
        shares = marks.shares(LAB3, [test.name for test in TESTS])
        self.assertEqual({name: share.weight for name, share in shares.items()},
                         {"loads": 2, "reads": 1, "poll_in": 0, "poll_out": 3})  # fmt: skip
        self.assertEqual(sum(share.points for share in shares.values()), 100)
        self.assertEqual(marks.of(LAB2, "loads"), 1)

    def test_points(self) -> None:
        marks = self.read("[course]\npoints = 10\n[lab3]\npoints = 30\n")
        grade = results.grade("x", record({"reads": False}), marks)
        self.assertEqual((grade.score, grade.points, grade.held, grade.failed),
                         (22.5, 30, 3, ["reads"]))  # fmt: skip
        self.assertEqual(marks.points["lab2"], 10)

    def test_all_weights_zero(self) -> None:
        self.assertEqual(
            results.grade("x", record({}), self.read("[behaviours]\n* = 0\n")).score, 0
        )

    def test_mistakes(self) -> None:
        for text, says in (
            ("[behaviours]\npol_* = 2\n", "pol_.* fits no behaviour"),
            ("[behaviours]\nloads = -1\n", "0 or more"),
            ("[behaviours]\nloads = nan\n", "0 or more"),
            ("[lab9]\npoints = 2\n", r"\[lab9\] is none of"),
            ("[lab3]\npoint = 2\n", "has no point"),
            ("points = 3\n", "no section"),
            ("[behaviours]\nloads = 1\nloads = 2\n", "already exists"),
        ):
            with self.subTest(text), self.assertRaisesRegex(UsageError, says):
                self.read(text)


class Written(Temporary):
    def setUp(self) -> None:
        super().setUp()
        path = self.folder / "w.ini"
        path.write_text("")
        self.marks = weights.read(path, TESTS)

    def grade(self, found: Record, name: str = EVIL) -> results.Grade:
        return results.grade(shown(name), found, self.marks)

    def test_a_behaviour_has_to_hold_on_every_kernel(self) -> None:
        found = record({}, kernels=("stock", "debug"))
        found.kernels[1].behaviours[1].passed = False
        grade = self.grade(found)
        self.assertEqual((grade.held, grade.failed, grade.score), (3, ["reads"], 75))
        self.assertIn("on the debug kernel", results.gradescope(grade))

    def test_gradescope(self) -> None:
        data = json.loads(results.gradescope(self.grade(record({"loads": False}))))
        self.assertEqual((data["score"], len(data["tests"])), (75, 4))
        self.assertEqual([test["status"] for test in data["tests"]], ["failed"] + ["passed"] * 3)
        self.assertEqual(sum(test["max_score"] for test in data["tests"]), 100)
        self.assertIn("saw", data["tests"][0]["output"])

    def test_junit(self) -> None:
        top = ElementTree.fromstring(results.junit(self.grade(record({"loads": False}))))
        suite = top[0]
        self.assertEqual((suite.get("tests"), suite.get("failures")), ("4", "1"))
        self.assertEqual(suite[0][0].get("message"), "loads works")
        refused = Record(NOT_GRADABLE, "lab3", "\x00\ud800 nothing")
        top = ElementTree.fromstring(results.junit(self.grade(refused)))
        self.assertEqual(top[0].get("errors"), "1")

    def test_ktap(self) -> None:
        lines = results.ktap(self.grade(record({"reads": False}))).splitlines()
        self.assertEqual(lines[:2], ["KTAP version 1", "1..1"])
        self.assertIn("  not ok 2 reads", lines)
        self.assertEqual(lines[-1], "not ok 1 lab3 on stock")

    def test_page_is_inert(self) -> None:
        for found in (record({"reads": False}), Record(NOT_GRADABLE, "lab3", EVIL)):
            page = results.page(self.grade(found))
            self.assertNotIn("<img", page)
            self.assertIn("default-src 'none'", page)
            self.assertEqual(page.count("<td"), page.count("</td>"))

    def test_records_are_kept_whole(self) -> None:
        found = record({"reads": False}, kernels=("stock", "debug"))
        self.assertEqual(Record.from_json(found.to_json()), found)

    def test_table(self) -> None:
        names = ["=1+1", '@x,"y"', "plain", "-2\n"]
        grades = [
            (classroom.slug(name), self.grade(record({"reads": False}), name)) for name in names
        ]
        rows = list(csv.reader(io.StringIO(classroom.table(grades))))
        self.assertEqual(tuple(rows[0]), classroom.COLUMNS)
        self.assertEqual([row[0] for row in rows[1:]], ["'=1+1", '\'@x,"y"', "plain", "'-2\\u000a"])
        self.assertEqual(rows[1][3:7], ["75", "100", "3", "4"])

    def test_who_has_the_same_source(self) -> None:
        reference = (TREE / LAB3.source).read_bytes()
        sources = {"anna": reference.replace(b";\n", b" ;  // mine\n\n"), "ben": b"int x;\n",
                   "cleo": b"int  x; // hers\n", "dan": b"int y;\n"}  # fmt: skip
        grades = []
        for name, data in sources.items():
            found = record({})
            found.fingerprint = fingerprint(data)
            grades.append((name, self.grade(found, name)))
        grades.append(("eve", self.grade(Record(NOT_GRADABLE, "lab3", "empty"), "eve")))
        rows = csv.DictReader(io.StringIO(classroom.table(grades)))
        self.assertEqual([row["same_as"] for row in rows], ["the reference", "cleo", "ben", "", ""])

    def test_folders_of_submissions(self) -> None:
        self.assertEqual(classroom.slug("smith-lab3.tar.gz"), "smith-lab3.tar.gz")
        odd = [
            "a b",
            "a_b",
            "é",
            "è",
            "..",
            "a\nb",
            "../x",
            os.fsdecode(b"\xff"),
            "x" * 300,
            "x" * 301,
        ]
        slugs = [classroom.slug(name) for name in odd]
        self.assertEqual(len(set(slugs)), len(odd))
        for one in slugs:
            self.assertRegex(one, r"^[A-Za-z0-9][A-Za-z0-9._-]*$")

    def test_line_fits(self) -> None:
        self.assertLessEqual(len(classroom.line(self.grade(record({}), "x" * 90))), 80)


class Asked(Temporary):
    def run_with(self, stages=(), **variables: str) -> int:
        clean = dict.fromkeys(("SUBMISSION", "SUBMISSIONS", "STAGE", "OUT", "WEIGHTS"), "")

        def courses():
            raise AssertionError("asked for a kernel before the question was clear")

        with mock.patch.dict(os.environ, {**clean, **variables}), redirect_stdout(io.StringIO()):
            return command.run(stages or list(BY_NAME.values()), bool(stages), courses)

    def test_usage(self) -> None:
        here = str(self.folder)
        for stages, variables, says in (
            ((), {}, "make grade SUBMISSION="),
            ((), {"SUBMISSION": here, "SUBMISSIONS": here}, "make grade SUBMISSION="),
            ((), {"SUBMISSION": f"{here}/none"}, "there is no such"),
            ((), {"SUBMISSION": here, "STAGE": "lab9"}, "STAGE=lab9: it is one of"),
            ((LAB2, LAB3), {"SUBMISSION": here}, "for one lab"),
            ((LAB2,), {"SUBMISSION": here, "STAGE": "lab3"}, "for one lab"),
            ((), {"SUBMISSIONS": __file__, "STAGE": "lab3"}, "it is a file"),
        ):
            with self.subTest(variables), self.assertRaisesRegex(UsageError, says):
                self.run_with(stages, **variables)

    def test_jobs(self) -> None:
        for jobs, count in (("3", 3), ("1", 1)):
            with mock.patch.dict(os.environ, {"JOBS": jobs}):
                self.assertEqual(classroom.workers(), count)
        for jobs in ("0", "x", "-1", "1000"):
            with mock.patch.dict(os.environ, {"JOBS": jobs}), self.assertRaises(UsageError):
                classroom.workers()

    def test_entries(self) -> None:
        with self.assertRaisesRegex(UsageError, "nothing in it"):
            classroom.entries(self.folder)
        for name in ("b", "a.zip", ".DS_Store", "__MACOSX"):
            (self.folder / name).write_text("")
        self.assertEqual([path.name for path in classroom.entries(self.folder)], ["a.zip", "b"])


if __name__ == "__main__":
    unittest.main()
