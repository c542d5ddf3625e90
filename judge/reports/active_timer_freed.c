// SPDX-License-Identifier: GPL-2.0
/*
 * Frees a timer that is armed.
 *
 * Kind: active-timer-freed
 * Needs: CONFIG_DEBUG_OBJECTS_FREE CONFIG_DEBUG_OBJECTS_TIMERS
 */
#include <linux/slab.h>
#include <linux/timer.h>

#include "reports.h"

static void goes_off(struct timer_list *unused)
{ /* guilty: handler */
}

static noinline void active_timer_freed(void)
{
	struct timer_list *timer = kmalloc(sizeof(*timer), GFP_KERNEL);

	if (!timer)
		return;
	timer_setup(timer, goes_off, 0);
	mod_timer(timer, jiffies + 60 * HZ);
	kfree(timer); /* guilty: at */
}

report_module(active_timer_freed);
