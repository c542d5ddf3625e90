"""Transcripts: how pages are read, what counts as the same, how they are rewritten."""

import unittest
from pathlib import Path

from judge import transcript
from judge.stages import TREE
from judge.transcript import PageError, blocks, difference, lines_of, normalise, ran, rewritten

PAGE = Path("docs/x.md")

TEXT = """\
# Title
```console vm=lab3 params="max_msgs=2 msg_size=8"
$ echo a > /dev/kmsgpipe0
$ cat /dev/kmsgpipe0
a
$ ^C
```

- in a list:
  ```console vm=lab1 unloaded
  $ dmesg
  [    1.000000] x: major 247
  ```

```c
$ no transcript
```

````markdown
```console vm=lab1
$ an example only
```
````
"""


def read(text: str) -> list:
    return blocks(PAGE, text)


class Reading(unittest.TestCase):
    def test_blocks(self) -> None:
        one, two = read(TEXT)
        self.assertEqual(one.attributes, {"vm": "lab3", "params": "max_msgs=2 msg_size=8"})
        self.assertEqual([step.typed for step in one.steps],
                         ["echo a > /dev/kmsgpipe0", "cat /dev/kmsgpipe0", "^C"])  # fmt: skip
        self.assertEqual([step.shown for step in one.steps], [[], ["a"], []])
        self.assertEqual(one.where, "docs/x.md:2")
        self.assertEqual(two.attributes, {"vm": "lab1", "unloaded": ""})
        self.assertEqual(two.steps[0].shown, ["[    1.000000] x: major 247"])

    def refused(self, text: str, why: str) -> None:
        with self.assertRaisesRegex(PageError, rf"^docs/x\.md:\d+: .*{why}"):
            read(text)

    def test_what_makes_no_sense(self) -> None:
        self.refused("```console\n$ ls\n```\n", "says where it runs")
        self.refused("```console vm=lab1 host\n$ ls\n```\n", "says where it runs")
        self.refused("```console vm=lab99\n$ ls\n```\n", "no such stage")
        self.refused("```console vm=lab1 unlaoded\n$ ls\n```\n", "unlaoded: not an attribute")
        self.refused("```console vm=lab1 params\n$ ls\n```\n", "params: not an attribute")
        self.refused("```console vm=lab1 params=\"a\n$ ls\n```\n", "quotation")
        self.refused("```console vm=lab1\noutput\n$ ls\n```\n", "begins with output")
        self.refused("```console vm=lab1\n```\n", "no typed line")
        self.refused("```console vm=lab1\n$ ls\n", "no end")

    def test_pages_of_the_course_can_be_read(self) -> None:
        for path in [*sorted((TREE / "docs").rglob("*.md")), *TREE.glob("README.md")]:
            blocks(path.relative_to(TREE), path.read_text())


class Comparing(unittest.TestCase):
    SAME = (
        ("[    1.234567] kmsgpipe_wait: open", "[  912.000001] kmsgpipe_wait: open"),
        ("[1] 97", "[1] 1234"),
        ("Pid:\t97", "Pid:\t1234"),
        ("lab3: 40 of 40 behaviours hold (2.9 s)", "lab3: 40 of 40 behaviours hold (13.1 s)"),
        ("        name, 12 ms", "        name, 3 ms"),
        ("x: loaded, major 247", "x: loaded, major 9"),
        ("crw-rw-rw-    1 root     root      246,   0 Nov 22 08:24 /dev/kmsgpipe0",
         "crw-rw-rw-    1 root     root       10,   0 Jan  2 18:04 /dev/kmsgpipe0"),
        ("246 kmsgpipe", " 10 kmsgpipe"),
        ("Linux 6.1.0-56-amd64 (Debian 6.1.192-2), emulated", "Linux 6.12.9 (x), KVM"),
        ("  Debian 6.1.192-2 (6.1.0-56-amd64), emulated", "  Linux 6.6.63 (/src), KVM"),
        ("6.1.0-56-amd64", "6.12.41-amd64"),
        ("kmsgpipe_wait          16384  0", "kmsgpipe_wait          20480  0"),
        ("5 bytes (5B) copied, 0.000612 seconds, 8.0KB/s",
         "5 bytes (5B) copied, 0.01 seconds, 500B/s"),
    )  # fmt: skip
    DIFFERENT = (
        ("write 5 bytes", "write 6 bytes"),
        ("[1] 97", "[2] 97"),
        ("crw-rw-rw- 1 root root 246, 0 x", "crw-rw-rw- 1 root root 246, 1 x"),
        ("40 of 40 behaviours hold (2 s)", "39 of 40 behaviours hold (2 s)"),
        ("[1] 1.5 read", "[1] 1.6 read"),
        ("kmsgpipe_wait 16384  0", "kmsgpipe_wait 16384  1"),
        ("max_msgs=0 is out of range, 1 to 65536", "max_msgs=1 is out of range, 1 to 65536"),
    )

    def test_what_varies(self) -> None:
        for one, other in self.SAME:
            self.assertEqual(normalise(one), normalise(other))

    def test_what_does_not(self) -> None:
        for one, other in self.DIFFERENT:
            self.assertNotEqual(normalise(one), normalise(other))

    def test_lines(self) -> None:
        self.assertEqual(lines_of(""), [])
        self.assertEqual(lines_of("a \n\nb\n"), ["a", "", "b"])
        self.assertEqual(lines_of("abc"), ["abc"])

    def compare(self, shown: str, output: str, info: str = "vm=lab1") -> list:
        (block,) = read(f"```console {info}\n$ x\n{shown}```\n")
        return difference(block, ran(block, [output]))

    def test_a_mismatch_names_its_place(self) -> None:
        diff = self.compare("a\n", "b\n")
        self.assertIn("docs/x.md:1", diff[0])
        self.assertIn("-a", diff)
        self.assertIn("+b", diff)

    def test_elision(self) -> None:
        self.assertEqual(self.compare("a\n...\nd\n", "a\nb\nc\nd\n"), [])
        self.assertEqual(self.compare("...\nd\n", "d\n"), [])
        self.assertTrue(self.compare("a\n...\nd\n", "a\nb\nc\n"))
        self.assertTrue(self.compare("a\n...\nd\n", "a\n"))

    def test_order(self) -> None:
        self.assertTrue(self.compare("a\nb\n", "b\na\n"))
        self.assertEqual(self.compare("a\nb\n", "b\na\n", "vm=lab1 unordered"), [])

    def test_once_only_lines(self) -> None:
        self.assertEqual(self.compare("a\n", "Booting a VM with 2 CPUs once, to ...\na\n"), [])

    def test_the_table_is_documented(self) -> None:
        page = (TREE / "docs/writing-pages.md").read_text()
        for what, _, _ in transcript.VARYING:
            self.assertIn(what, page)


class Rewriting(unittest.TestCase):
    def test_outputs_only(self) -> None:
        one, two = read(TEXT)
        changes = [(one, ran(one, ["", "b\nc\n", ""])), (two, ran(two, [""]))]
        wanted = TEXT.replace("\na\n", "\nb\nc\n").replace("  [    1.000000] x: major 247\n", "")
        self.assertEqual(rewritten(TEXT, changes), wanted)

    def test_again_changes_nothing(self) -> None:
        one, two = read(TEXT)
        same = [(block, ran(block, ["\n".join(s.shown) for s in block.steps])) for block in (one, two)]
        self.assertEqual(rewritten(TEXT, same), TEXT)

    def test_a_page_that_has_moved(self) -> None:
        one, _ = read(TEXT)
        with self.assertRaisesRegex(PageError, "changed meanwhile"):
            rewritten("new line\n" + TEXT, [(one, one.steps)])


if __name__ == "__main__":
    unittest.main()
