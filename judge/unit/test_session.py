"""Prompts of our own in what the VM's shell prints, in whatever pieces it comes."""

import unittest

from judge import demo
from judge.session import CTRL_C, Done, Session, split_prompts, step
from judge.vm import VmGone

TOKEN = b"@kmsgpipe-0123:"


class Prompts(unittest.TestCase):
    def test_in_any_pieces(self) -> None:
        whole = b"msg1\r\nmsg2\n@kmsgpipe-0123:130@late\n"
        for cut in range(len(whole) + 1):
            data = bytearray()
            for piece in (whole[:cut], whole[cut:]):
                data += piece
            text, says = split_prompts(bytes(data), TOKEN)
            self.assertEqual((text, says), (b"msg1\nmsg2\nlate\n", ["130"]), cut)

    def test_half_a_prompt_is_none(self) -> None:
        for half in (b"@kmsgpipe-0123:", b"@kmsgpipe-0123:1", b"@kmsgpipe-01"):
            self.assertEqual(split_prompts(b"x" + half, TOKEN), (b"x" + half, []))

    def test_output_cannot_pass_for_a_prompt(self) -> None:
        for forged in (b"@kmsgpipe-0124:0@", b"$ ", b"@kmsgpipe-0123:$?@"):
            self.assertEqual(split_prompts(forged, TOKEN), (forged, []))

    def test_continuation(self) -> None:
        self.assertEqual(split_prompts(TOKEN + b"more@", TOKEN), (b"", ["more"]))

    def test_no_final_newline(self) -> None:
        self.assertEqual(split_prompts(b"abc" + TOKEN + b"0@", TOKEN), (b"abc", ["0"]))

    def test_a_lone_carriage_return_is_output(self) -> None:
        self.assertEqual(split_prompts(b"a\rb\n" + TOKEN + b"0@", TOKEN)[0], b"a\rb\n")


class FakeVm:
    """Answers each typed line with the next of `answers`, a few bytes at a time."""

    def __init__(self, *answers: str):
        self.shell_out = bytearray()
        self.typed: list = []
        self._lines: list = []
        self._coming = bytearray()
        self._answers = list(answers)
        self._prompt = ""

    def put(self, path: str, data: bytes) -> None:
        self._prompt = data.decode().split("PS1='")[1].split("$?")[0]
        self._answers.insert(0, "noise\n{prompt}0@")

    def ask(self, *words: str) -> str:
        self._next()
        return "@ok"

    def command(self, *words: str) -> None:
        if words != ("asleep",) or self._asleep():
            self._lines.append("@ok")

    def _asleep(self) -> bool:
        asleep = b"ASLEEP" in self._coming
        self._coming = self._coming.replace(b"ASLEEP", b"")
        self.pump(0)
        return asleep

    def answer(self, seconds: float, what: str) -> str:
        return self._lines.pop(0)

    def line(self, seconds: float) -> str:
        return self._lines.pop(0)

    def has_line(self) -> bool:
        return bool(self._lines)

    def type(self, data: bytes) -> None:
        self.typed.append(data)
        self._next()

    def _next(self) -> None:
        self._coming += self._answers.pop(0).format(prompt=self._prompt).encode()

    def pump(self, timeout: float) -> None:
        count = 3 if timeout else len(self._coming)
        self.shell_out += self._coming[:count]
        del self._coming[:count]

    def wait(self, ready, seconds: float, what: str) -> None:
        while not ready():
            if not self._coming:
                raise VmGone(f"no {what} within {seconds:.0f} s")
            self.pump(1)


class Lines(unittest.TestCase):
    def test_output_and_status(self) -> None:
        vm = FakeVm("msg1\r\n{prompt}0@", "no\n{prompt}7@")
        session = Session(vm)
        self.assertEqual(session.run("cat"), Done("msg1\n", 0))
        self.assertEqual(session.run("cat"), Done("no\n", 7))
        self.assertEqual(vm.typed, [b"cat\n", b"cat\n"])

    def test_a_job_that_prints_behind_the_prompt(self) -> None:
        self.assertEqual(Session(FakeVm("{prompt}0@woken\n")).run("echo"), Done("woken\n", 0))

    def test_ctrl_c(self) -> None:
        session = Session(FakeVm("msg1\nASLEEP", "\n{prompt}130@"))
        self.assertEqual(step(session, "cat", CTRL_C), Done("msg1\n"))
        self.assertEqual(step(session, CTRL_C, None), Done("", 130))
        self.assertEqual(session.vm.typed[-1], b"\x03")

    def test_a_command_that_does_not_sleep(self) -> None:
        with self.assertRaisesRegex(VmGone, "came back"):
            step(Session(FakeVm("{prompt}0@")), "cat", CTRL_C)

    def test_a_command_that_hangs(self) -> None:
        with self.assertRaisesRegex(VmGone, "no prompt within"):
            step(Session(FakeVm("half a line")), "cat", None)

    def test_half_a_command(self) -> None:
        with self.assertRaisesRegex(VmGone, "no whole command"):
            step(Session(FakeVm("{prompt}more@")), "for i in 1", None)


class Script(unittest.TestCase):
    def test_notation(self) -> None:
        items = demo.parse("# One\n# two.\n\ncat x\n^C\n! false\n# Three.\n")
        self.assertEqual(
            items,
            [
                demo.Item(told="One two."), demo.Item(typed="cat x"), demo.Item(typed=CTRL_C),
                demo.Item(typed="false", fails=True), demo.Item(told="Three."),
            ],
        )  # fmt: skip

    def test_exit_status(self) -> None:
        good, bad = demo.Item(typed="a"), demo.Item(typed="a", fails=True)
        self.assertEqual([demo._wrong(good, 0), demo._wrong(bad, 1)], ["", ""])
        self.assertIn("exit status 2", demo._wrong(good, 2))
        self.assertIn("was to fail", demo._wrong(bad, 0))
        self.assertEqual(demo._wrong(demo.Item(typed=CTRL_C), 130), "")

    def test_every_stage_that_has_a_script(self) -> None:
        for path in sorted((demo.TREE / "userland/demo").glob("*.sh")):
            typed = [item.typed for item in demo.parse(path.read_text()) if item.typed]
            self.assertTrue(typed[0].startswith("sudo insmod "), path)
            self.assertTrue(any(line.startswith("dmesg | tail") for line in typed), path)
            # The visitor's tour ends with statistics, for which the driver has to stay.
            last = "ioctl " if path.stem == "capstone" else "sudo rmmod "
            self.assertTrue(any(line.startswith(last) for line in typed), path)


if __name__ == "__main__":
    unittest.main()
