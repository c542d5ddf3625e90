/* SPDX-License-Identifier: GPL-2.0 */
/*
 * First in kernel/stacktrace.c of the debug kernel: who has called, by frame pointers alone. The
 * kernel's own unwinder also finds its way through interrupts and tracers, by a dozen calls
 * a step; and KASAN and kmemleak ask at each allocation and each free.
 *
 * The walk ends where the next frame is not further up on the same stack. Entries into the kernel
 * see to that: they leave 0 or an odd value in its place (ENCODE_FRAME_POINTER).
 */
#include <linux/sched.h>
#include <linux/stacktrace.h>

#ifdef CONFIG_UNWINDER_FRAME_POINTER
static __always_inline void walk_frames(stack_trace_consume_fn consume, void *cookie,
					struct task_struct *task, struct pt_regs *regs)
{
	const unsigned long *frame = __builtin_frame_address(0), *next;

	if (task != current || regs) {
		arch_stack_walk(consume, cookie, task, regs);
		return;
	}
	/* As the kernel's own: it begins with whom we are inlined into. */
	if (!consume(cookie, _THIS_IP_))
		return;
	while (consume(cookie, frame[1])) {
		next = (const unsigned long *)frame[0];
		if (next <= frame || next > frame + THREAD_SIZE / sizeof(*frame) ||
		    (unsigned long)next % sizeof(*frame))
			return;
		frame = next;
	}
}

#define arch_stack_walk	walk_frames
#endif
