// SPDX-License-Identifier: GPL-2.0
/*
 * Loops for long with preemption off.
 *
 * Kind: soft-lockup
 * Needs: CONFIG_SOFTLOCKUP_DETECTOR
 */
#include <linux/preempt.h>

#include "reports.h"

static noinline void soft_lockup(void)
{
	unsigned long end;

	report_set("/proc/sys/kernel/watchdog_thresh", "1");
	end = jiffies + REPORT_SECONDS * HZ;
	preempt_disable();
	while (time_before(jiffies, end)) /* guilty: at */
		;
	preempt_enable();
}

report_module(soft_lockup);
