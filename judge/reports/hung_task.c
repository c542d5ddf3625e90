// SPDX-License-Identifier: GPL-2.0
/*
 * Waits for long where no signal reaches it.
 *
 * Kind: hung-task
 * Needs: CONFIG_DETECT_HUNG_TASK
 */
#include <linux/completion.h>

#include "reports.h"

static DECLARE_COMPLETION(never);

static noinline void hung_task(void)
{
	/* The stack is of the level "info", and the judge's console shows warnings only. */
	report_set("/proc/sys/kernel/printk", "7");
	report_set("/proc/sys/kernel/hung_task_timeout_secs", "2");
	report_set("/proc/sys/kernel/hung_task_check_interval_secs", "1");
	wait_for_completion_timeout(&never, REPORT_SECONDS * HZ); /* guilty: at */
}

report_module(hung_task);
