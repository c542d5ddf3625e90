"""make <stage>... <verb>: finds out what was asked for and calls who does it."""

from __future__ import annotations

import difflib
import os
import signal
import sys
import traceback
from typing import Callable, Sequence

# Ctrl-C while there is nothing to tidy up yet; main() changes that. Ignored stays ignored.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from . import cache, desk, labkernel, verbs  # noqa: E402
from .errors import CannotTest, UsageError  # noqa: E402
from .stages import BY_NAME, STAGES, Stage  # noqa: E402

Verb = Callable[[Sequence[Stage], bool], int]

# verb -> what it does, and who does it
VERBS: dict[str, tuple[str, Verb]] = {
    "build": ("compiles the stage (also without a verb)", verbs.build),
    "test": ("builds it, boots a VM, judges its behaviour", verbs.test),
    "check": ("static review: checkpatch --strict, W=1, sparse", verbs.check),
    "demo": ("plays the lab plan's commands in the VM (no stage: capstone)", verbs.demo),
    "diff": ("what the stage changes against the one before", verbs.diff),
    "zoo": ("wrong drivers that the tests must catch, right ones that must pass", verbs.zoo),
    "soak": ("repeats the tests on a busy machine: no verdict may differ", verbs.soak),
    "matrix": ("all stages on stock, real-time and lab kernels, in one table", verbs.matrix),
    "coverage": ("which lines the tests reach, and why not the others", verbs.coverage),
    "start": ("makes your copy in work/, from the stage before", verbs.start),
    "hint": ("the next hint for the failure to work on", verbs.hint),
    "solution": ("the reference, as a diff against yours", verbs.solution),
    "progress": ("what you have done, and what is next", verbs.progress),
    "watch": ("tests again at every save, on one screen", verbs.watch),
    "trace": ("a sleep and its wake-up as a timeline; from lab 5 on expiry", verbs.trace),
    "grade": ("judges what was handed in: SUBMISSION= or SUBMISSIONS=", verbs.grade),
    "bench": ("what a message costs: the capstone, the kernel's channels", verbs.bench),
    "shell": ("a shell in the VM with the module loaded", verbs.shell),
    "dmesg": ("follows the kernel's log of a shell that runs", verbs.dmesg),
    "gdb": ("a debugger on the kernel of a shell that runs", verbs.gdb),
}

# These stand alone: stages make no sense with them.
ALONE: dict[str, tuple[str, Callable[[], int]]] = {
    "kernel": ("builds a kernel that reports more bugs: KERNEL=debug", labkernel.verb),
    "doctor": ("what is needed here, what is missing, what to do", verbs.doctor),
    "docs-check": ("replays every console transcript of the pages", verbs.docs_check),
    "docs-update": ("writes those transcripts anew from the VM", verbs.docs_update),
    "grade-check": ("grades a made-up class, hostile ones in it; SMALL=1", verbs.grade_check),
    "reports": ("provokes every kind of kernel report, checks what is made of it", verbs.reports),
    "unit": ("the unit tests of the host tools, without a VM", verbs.unit),
    "walk": ("a student's way through labs 1 to 3, by the commands", verbs.walk),
    "clean": ("removes what builds left behind, keeps kernels", verbs.clean),
    "help": ("this text", lambda: help_text(sys.stdout)),
}

# These are about the reference, or about the desk itself, whatever is in work/.
NOT_OF_WORK = ("zoo", "matrix", "grade", "start", "hint", "solution", "progress")

VARIABLES = {
    "REF=1": "the reference, also where you have a copy in work/",
    "FORCE=1": "make lab3 start: anew; keeps the copy that is there beside it",
    "KERNEL=": "stock (default), 6.12, 6.12-rt, debug, race, base, or a built tree",
    "SOURCE=": "for make kernel: a tarball, a tree, or debian, not kernel.org",
    "KDIR=": "a prepared or built kernel tree to compile against",
    "KIMAGE=": "the kernel image that belongs to it",
    "TESTS=": "only these tests, by name: make lab3 test TESTS=poll_...",
    "VARIANT=": "only these drivers of the zoo: make lab3 zoo VARIANT=...",
    "TRIES=": "zoo: this many for a wrong driver that is missed (default 1)",
    "N=": "how many rounds of soak: make lab3 soak N=50 (default 10)",
    "FROM=, TO=": "diff: these two stages; VIEW=side in two columns, HTML= to a page",
    "SUBMISSION=": "grade: a folder, an archive or a .c file; OUT= takes the results",
    "SUBMISSIONS=": "grade: a folder of these, one for each student; needs STAGE=",
    "STAGE=": "grade: which lab; WEIGHTS= what it is worth; FRESH=1 forgets results",
    "MODE=": "bench: instructions or wall, else both; OUT= takes the results",
    "CELLS=": "bench: only these, such as pair/pipe or thread/kmsgpipe/64",
    "LADDER=1": "bench: what each step of the data path has bought",
    "V=1": "shows commands, names of tests, and times",
    "KMSGPIPE_CACHE=": "where kernels and builds are kept",
    "KMSGPIPE_WORK=": "where your copies are kept (work/)",
}


def help_text(out) -> int:
    print("kmsgpipe: a Linux kernel lab course, judged in a real kernel\n", file=out)
    print("  make <stage>... <verb>        for example: make lab3 test\n", file=out)
    print("Stages (none means all):", file=out)
    for stage in STAGES:
        print(f"  {stage.name:<16} {stage.title}", file=out)
    print("\nVerbs:", file=out)
    for name, (says, _) in {**VERBS, **ALONE}.items():
        print(f"  {name:<16} {says}", file=out)
    print("\nVariables:", file=out)
    for name, says in VARIABLES.items():
        print(f"  {name:<16} {says}", file=out)
    return 0


def unknown(word: str) -> UsageError:
    names = [*BY_NAME, *VERBS, *ALONE]
    near = difflib.get_close_matches(word, names, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return UsageError(
        f"{word}: neither a stage ({' '.join(BY_NAME)}) nor a verb "
        f"({' '.join([*VERBS, *ALONE])}).{hint}"
    )


def run(words: Sequence[str]) -> int:
    stages = [BY_NAME[word] for word in words if word in BY_NAME]
    others = [word for word in words if word not in BY_NAME]
    for word in others:
        if word not in VERBS and word not in ALONE:
            raise unknown(word)
    alone = [word for word in others if word in ALONE]
    if alone and (stages or len(others) > 1):
        raise UsageError(f"{alone[0]} stands alone: make {alone[0]}")
    if alone:
        return ALONE[alone[0]][1]()
    if not words:
        return help_text(sys.stdout)
    chosen = sorted(set(stages), key=lambda stage: stage.number) or list(STAGES)
    status = 0
    for word in others or ["build"]:
        meant = chosen if word in NOT_OF_WORK else [desk.stage(stage) for stage in chosen]
        said = desk.announcement(meant)
        if said:
            print(said)
        status = max(status, VERBS[word][1](meant, bool(stages)))
    return status


def main() -> int:
    # A closed pipe (`make test | head`) ends us quietly, as it does other tools.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout.reconfigure(line_buffering=True)
    try:
        return run(sys.argv[1:])
    except (CannotTest, UsageError) as error:
        kind = "could not test: " if isinstance(error, CannotTest) else ""
        print(f"kmsgpipe: {kind}{error}", file=sys.stderr)
        return error.status
    except OSError as error:  # the machine's: a full disk, a cache that somebody else owns
        if error.errno in cache.NO_SPACE:
            error = cache.disk_full()
        elif verbs.VERBOSE:
            traceback.print_exc()
        print(f"kmsgpipe: could not test: {error}", file=sys.stderr)
        return CannotTest.status
    except Exception:  # a fault of ours, or of this machine: not of the student's code
        traceback.print_exc()
        print("kmsgpipe: could not test: see above; please report it", file=sys.stderr)
        return CannotTest.status
    except KeyboardInterrupt:
        print("\nkmsgpipe: interrupted; nothing was left running", file=sys.stderr)
        return 130


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    sys.exit(main())
