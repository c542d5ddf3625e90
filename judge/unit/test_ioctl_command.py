"""The `ioctl` command: what it takes, sends and prints. No VM and no device is needed."""

import errno
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from judge import image
from judge.stages import TREE

SOURCE = "userland/ioctl/ioctl.c"
FAKE = "judge/unit/fake_ioctl.c"
COMMANDS = ("GET_STATS", "CLEAR_QUEUE", "SET_LIMITS", "PEEK", "GET_CLEANUP", "SET_CLEANUP")
NODE = "/dev/null"
PROGRAM: dict[str, str] = {}


def setUpModule() -> None:
    """Compiles it once as it is in the VM, and once with a driver of its own."""
    scratch = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(scratch.cleanup)
    flags = [flag for flag in image.CFLAGS if flag != "-static"]
    for name, more in (("real", []), ("faked", [FAKE, "-Wl,--wrap=ioctl"])):
        PROGRAM[name] = f"{scratch.name}/{name}"
        done = subprocess.run(["gcc", *flags, "-Werror", SOURCE, *more, "-o", PROGRAM[name]],
                              cwd=TREE, capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(done.stderr)


class Command(unittest.TestCase):
    def run_it(self, *words: str, program: str = "faked", fake: str = "",
               stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess:
        return subprocess.run([PROGRAM[program], *words], stdin=subprocess.DEVNULL,
                              stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60,
                              env={**os.environ, "FAKE": fake, "LC_ALL": "C"})

    def answer(self, *words: str) -> str:
        done = self.run_it(NODE, *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def sent(self, *words: str) -> list[str]:
        done = self.run_it(NODE, *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stderr.splitlines()

    def object(self, *words: str) -> dict:
        text = self.answer(*words)
        self.assertEqual(text.count("\n"), 1)
        self.assertTrue(text.isascii())
        return json.loads(text)

    def called_wrongly(self, *words: str) -> str:
        """Nothing is sent, one line says what is wrong."""
        done = self.run_it(NODE, *words)
        self.assertEqual((done.returncode, done.stdout), (2, ""), words)
        self.assertRegex(done.stderr, r"\Aioctl: [^\n]*\n\Z")
        return done.stderr

    def refused(self, *words: str, **how) -> str:
        done = self.run_it(*words, **how)
        self.assertEqual((done.returncode, done.stdout), (1, ""), words)
        return done.stderr


class Usage(Command):
    def test_too_few_words(self) -> None:
        for words in ((), (NODE,), ("--json",), ("--json", NODE)):
            done = self.run_it(*words)
            self.assertEqual((done.returncode, done.stdout), (2, ""), words)
            self.assertIn("usage: ioctl", done.stderr)

    def test_help(self) -> None:
        for words in (("--help",), (NODE, "--help"), ("/nonexistent", "--help")):
            done = self.run_it(*words)
            self.assertEqual((done.returncode, done.stderr), (0, ""), words)
            for name in COMMANDS:
                self.assertIn(f"KMSGPIPE_{name}", done.stdout)
            self.assertIn("present", done.stdout)
            self.assertIn("65536", done.stdout)
            self.assertLessEqual(max(map(len, done.stdout.splitlines())), 80)

    def test_unknown_option(self) -> None:
        self.assertIn("--help", self.called_wrongly("GET_STATS", "--jsn"))

    def test_nearest_command(self) -> None:
        for word, nearest in (("KMSGPIPE_GET_STAT", "GET_STATS"), ("getstats", "GET_STATS"),
                              ("KMSGPIPE_CLAER_QUEUE", "CLEAR_QUEUE"), ("clear", "CLEAR_QUEUE"),
                              ("set_limit", "SET_LIMITS"), ("peak", "PEEK"),
                              ("KMSGPIPE_SET_CLEENUP", "SET_CLEANUP")):
            said = self.called_wrongly(word)
            self.assertIn(f"did you mean KMSGPIPE_{nearest}?", said)
            for name in COMMANDS:
                self.assertIn(name, said)

    def test_no_command_is_near(self) -> None:
        for word in ("frobnicate-everything", "", "\u03a9", "x" * 5000):
            said = self.called_wrongly(word)
            self.assertNotIn("did you mean", said)
            self.assertIn("Known: GET_STATS", said)

    def test_arguments(self) -> None:
        for words in (("max_msg=1",), ("max_msgs",), ("MAX_MSGS=1",), ("=1",), ("",),
                      ("max_msgs=1", "max_msgs=1"), ("max_msgs=1", "ttl_ms=1")):
            said = self.called_wrongly("KMSGPIPE_SET_LIMITS", *words)
            self.assertIn("KMSGPIPE_SET_LIMITS takes max_msgs=NUMBER msg_size=NUMBER", said)
        self.assertIn("twice", self.called_wrongly("PEEK", "index=1", "index=1"))
        self.assertIn("takes no arguments", self.called_wrongly("GET_STATS", "index=1"))
        self.assertIn("takes no arguments", self.called_wrongly("0xe963", "index=1"))

    def test_numbers(self) -> None:
        for text in ("", "-1", "+1", " 1", "1 ", "1x", "0x", "0x0x5", "0xg", "a", "1.0", "1e3",
                     "4294967296", "0x100000000", "18446744073709551617", "9" * 400):
            said = self.called_wrongly("SET_CLEANUP", f"ttl_ms={text}")
            self.assertIn("not a number from 0 to 4294967295", said)
        for text in ("1x", "0x0x5", "0x100000000"):
            self.called_wrongly(text)

    def test_numbers_that_are_some(self) -> None:
        for text, value in (("0", 0), ("010", 10), ("0x1F", 31), ("0Xff", 255),
                            ("4294967295", 2**32 - 1), ("0xffffffff", 2**32 - 1)):
            sent = self.sent("SET_CLEANUP", f"ttl_ms={text}", "interval_ms=1")
            self.assertEqual(sent, [f"SET_CLEANUP 1 {value}"])


class Answers(Command):
    def test_stats(self) -> None:
        want = "written 18446744073709551615|read 7|cleared 6|expired 5|queued 2|max_msgs 64|" \
               "msg_size 256 bytes"
        for word in ("KMSGPIPE_GET_STATS", "GET_STATS", "get_stats", "kmsgpipe_get_stats"):
            rows = self.answer(word).splitlines()
            self.assertEqual([" ".join(row.split()) for row in rows], want.split("|"))
            self.assertEqual({len(row) - len(row.split(None, 1)[1]) for row in rows}, {13})

    def test_stats_for_programs(self) -> None:
        want = {"written": 2**64 - 1, "read": 7, "cleared": 6, "expired": 5, "queued": 2,
                "max_msgs": 64, "msg_size": 256}
        self.assertEqual(self.object("GET_STATS", "--json"), want)
        done = self.run_it("--json", NODE, "GET_STATS")
        self.assertEqual(json.loads(done.stdout), want)

    def test_clear(self) -> None:
        self.assertEqual(self.answer("KMSGPIPE_CLEAR_QUEUE").split(), ["dropped", "2"])
        self.assertEqual(self.object("CLEAR_QUEUE", "--json"), {"dropped": 2})

    def test_limits_not_given_stay(self) -> None:
        for words, sent in ((("max_msgs=8",), "8 256"), (("msg_size=9",), "64 9"), ((), "64 256")):
            self.assertEqual(self.sent("SET_LIMITS", *words), ["GET_STATS", f"SET_LIMITS {sent}"])
        self.assertEqual(self.sent("SET_LIMITS", "msg_size=9", "max_msgs=8"), ["SET_LIMITS 8 9"])
        self.assertEqual(self.object("--json", "SET_LIMITS", "max_msgs=8"),
                         {"max_msgs": 8, "msg_size": 256})

    def test_times_not_given_stay(self) -> None:
        for words, sent in ((("ttl_ms=0",), "1000 0"), (("interval_ms=5",), "5 30000")):
            self.assertEqual(self.sent("SET_CLEANUP", *words),
                             ["GET_CLEANUP", f"SET_CLEANUP {sent}"])
        self.assertEqual(self.answer("GET_CLEANUP"),
                         "interval_ms  1000 ms\nttl_ms       30000 ms\n")
        self.assertEqual(self.object("GET_CLEANUP", "--json"),
                         {"interval_ms": 1000, "ttl_ms": 30000})

    def test_peek(self) -> None:
        self.assertEqual(self.answer("PEEK", "index=1"),
                         "index        1\nsize         5 bytes\nmessage      \"msg2\\n\"\n")
        self.assertEqual(self.sent("PEEK"), ["PEEK 0 4096"])
        self.assertEqual(self.sent("PEEK", "size=256", "index=0"), ["PEEK 0 256"])

    def test_peek_leaves_the_terminal_alone(self) -> None:
        text = self.answer("PEEK")
        self.assertEqual({c for c in text if not " " <= c <= "~"}, {"\n"})
        self.assertEqual(text.count("\n"), 3)
        for shown in ("\\x00", "\\x1b", "\\x7f", "\\xff", "\\\"", "\\\\"):
            self.assertIn(shown, text)

    def test_peek_for_programs(self) -> None:
        got = self.object("PEEK", "--json")
        self.assertEqual(got["message"].encode("latin-1"), bytes(range(256)))
        self.assertEqual((got["index"], got["size"]), (0, 256))
        self.assertIn("\\u001b", self.answer("PEEK", "--json"))

    def test_bare_number(self) -> None:
        self.assertEqual(self.answer("0xe977").split(), ["returned", "0"])
        self.assertEqual(self.sent("59767"), ["number 0xe977"])


class Refused(Command):
    def test_no_such_command_there(self) -> None:
        for name in COMMANDS:
            said = self.refused(NODE, f"KMSGPIPE_{name}", program="real")
            first, second = said.splitlines()
            self.assertEqual(
                first, f"ioctl: {NODE}: KMSGPIPE_{name}: Inappropriate ioctl for device")
            self.assertIn("driver does not know", second)

    def test_bare_number(self) -> None:
        said = self.refused(NODE, "0xe963", program="real")
        self.assertIn(f"ioctl: {NODE}: 0xe963: Inappropriate ioctl for device\n", said)

    def test_no_node(self) -> None:
        said = self.refused("/nonexistent/node", "GET_STATS", program="real")
        self.assertEqual(said, "ioctl: /nonexistent/node: No such file or directory\n"
                               "  is the driver loaded?\n")

    def test_remedies(self) -> None:
        for error, name, remedy in (
            (errno.EPERM, "CLEAR_QUEUE", "it needs CAP_SYS_ADMIN: try sudo"),
            (errno.ENOENT, "PEEK", "no message has that number; the first one has 0"),
            (errno.EINVAL, "SET_LIMITS",
             "max_msgs: 1 to 65536 messages, msg_size: 1 to 4096 bytes"),
            (errno.EINVAL, "SET_CLEANUP",
             "interval_ms: 0 (off) to 86400000, ttl_ms: 0 (off) to 86400000"),
            (errno.EFAULT, "GET_STATS", ""),
        ):
            said = self.refused(NODE, name, fake=f"errno={error}")
            want = f"ioctl: {NODE}: KMSGPIPE_{name}: {os.strerror(error)}\n"
            self.assertEqual(said, want + (f"  {remedy}\n" if remedy else ""))

    def test_too_little_room(self) -> None:
        said = self.refused(NODE, "PEEK", "index=1", "size=4")
        self.assertIn("Message too long\n  it has 5 bytes, try size=5\n", said)
        self.refused(NODE, "PEEK", "size=0")

    def test_driver_that_tells_a_wrong_length(self) -> None:
        said = self.refused(NODE, "PEEK", fake="long")
        self.assertIn("the driver says 4294967295 bytes, there was room for 4096", said)

    def test_answer_that_does_not_get_through(self) -> None:
        with open("/dev/full", "w") as full:
            for words in ((NODE, "GET_STATS"), (NODE, "PEEK", "--json"), ("--help",)):
                done = self.run_it(*words, stdout=full.fileno())
                self.assertEqual(done.returncode, 1, words)
                self.assertIn("ioctl: standard output: No space left on device", done.stderr)


class Makefile(unittest.TestCase):
    def test_builds_it(self) -> None:
        """As the page for a machine of one's own says: make -C userland/ioctl."""
        with tempfile.TemporaryDirectory() as scratch:
            for name in ("userland/ioctl/Makefile", SOURCE, "include/kmsgpipe.h"):
                copy = Path(scratch) / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes((TREE / name).read_bytes())
            env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
            done = subprocess.run(["make", "-C", f"{scratch}/userland/ioctl"], env=env,
                                  capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertTrue(os.access(f"{scratch}/userland/ioctl/ioctl", os.X_OK))


if __name__ == "__main__":
    unittest.main()
