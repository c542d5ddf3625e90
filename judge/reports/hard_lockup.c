// SPDX-License-Identifier: GPL-2.0
/*
 * Loops for long with interrupts off.
 *
 * Kind: hard-lockup
 * Needs: CONFIG_HARDLOCKUP_DETECTOR_BUDDY
 */
#include <linux/irqflags.h>

#include "reports.h"

static noinline void hard_lockup(void)
{
	unsigned long end, flags;

	report_set("/proc/sys/kernel/watchdog_thresh", "1");
	end = jiffies + REPORT_SECONDS * HZ;
	local_irq_save(flags);
	while (time_before(jiffies, end)) /* guilty: at */
		;
	local_irq_restore(flags);
}

report_module(hard_lockup);
