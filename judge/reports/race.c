// SPDX-License-Identifier: GPL-2.0
/*
 * Two tasks change a number at the same time, without a lock.
 *
 * Kind: race
 * Needs: CONFIG_KCSAN
 */
#include <linux/kthread.h>
#include <linux/sched.h>

#include "reports.h"

static int depth;

static noinline void change(void)
{
	depth++; /* guilty: at */
}

static int changes(void *unused)
{
	while (!kthread_should_stop()) {
		change();
		cond_resched();
	}
	return 0;
}

static noinline void race(void)
{
	struct task_struct *task = kthread_run(changes, NULL, "race");
	unsigned long end = jiffies + REPORT_SECONDS * HZ;

	if (IS_ERR(task))
		return;
	while (time_before(jiffies, end)) {
		change();
		cond_resched();
	}
	kthread_stop(task);
}

report_module(race);
