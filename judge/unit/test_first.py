"""judge/configs/first/stacktrace.h: who has called, without a kernel around it."""

from __future__ import annotations

import platform
import subprocess
import tempfile
import unittest
from pathlib import Path

from judge import labkernel

# What the header takes from the kernel's, and a call of it three functions deep.
SCHED = """
struct task_struct { int x; } task, *current = &task;
struct pt_regs;
#define __always_inline inline __attribute__((always_inline))
#define THREAD_SIZE 32768
#define _THIS_IP_ ({ __label__ here; here: (unsigned long)&&here; })
"""
STACKTRACE = """
#include <stdbool.h>
typedef bool (*stack_trace_consume_fn)(void *cookie, unsigned long addr);
void arch_stack_walk(stack_trace_consume_fn, void *, struct task_struct *, struct pt_regs *);
"""
PROGRAM = """
#define CONFIG_UNWINDER_FRAME_POINTER 1
#include "first.h"
#undef arch_stack_walk
#include <stdio.h>

#define NOINLINE __attribute__((noinline, noclone))
#define BACK() ((unsigned long)__builtin_return_address(0))
static unsigned long seen[64], back[4], spoil;
static int count, most = 4, asked_kernel;

void arch_stack_walk(stack_trace_consume_fn consume, void *cookie, struct task_struct *task,
		     struct pt_regs *regs) { asked_kernel++; }

static bool consume(void *cookie, unsigned long addr)
{
	seen[count++] = addr;
	return count < most;
}

static NOINLINE void save(void) { back[0] = BACK(); walk_frames(consume, 0, current, 0); }
static NOINLINE void inner(void)
{
	volatile unsigned long *frame = __builtin_frame_address(0), old = *frame;

	back[1] = BACK();
	*frame = spoil == 1 ? 0 : spoil == 2 ? (old | 1) : spoil == 3 ? old + (1UL << 40) : old;
	save();
	*frame = old;
	__asm__ volatile("");
}
static NOINLINE void outer(void) { back[2] = BACK(); inner(); __asm__ volatile(""); }

int main(void)
{
	for (spoil = 0; spoil < 4; spoil++) {
		count = 0;
		outer();
		printf("%d:%d%d%d ", count, count > 1 && seen[1] == back[0],
		       count > 2 && seen[2] == back[1], count > 3 && seen[3] == back[2]);
	}
	most = 1;
	count = 0;
	spoil = 0;
	outer();
	printf("%d ", count);
	walk_frames(consume, 0, 0, 0);
	walk_frames(consume, 0, current, (struct pt_regs *)&count);
	printf("%d\\n", asked_kernel);
	return 0;
}
"""


@unittest.skipUnless(platform.machine() == "x86_64", "frames are as x86 has them")
class Frames(unittest.TestCase):
    def test_walk(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            (place / "linux").mkdir()
            (place / "linux/sched.h").write_text(SCHED)
            (place / "linux/stacktrace.h").write_text(STACKTRACE)
            (place / "first.h").write_text((labkernel.FIRST / "stacktrace.h").read_text())
            (place / "walk.c").write_text(PROGRAM)
            subprocess.run(
                ["gcc", "-O2", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls",
                 f"-I{place}", "-o", place / "walk", place / "walk.c"],
                check=True, capture_output=True,
            )  # fmt: skip
            done = subprocess.run([place / "walk"], check=True, capture_output=True, text=True)
        # All callers in their order; none beyond an end by 0, an odd value or another stack; no
        # more than are wanted; and another task's, or an interrupt's, are for the kernel.
        self.assertEqual(done.stdout, "4:111 3:110 3:110 3:110 1 2\n")


if __name__ == "__main__":
    unittest.main()
