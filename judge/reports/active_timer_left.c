// SPDX-License-Identifier: GPL-2.0
/*
 * The module goes while its timer is armed: its functions have no names then.
 *
 * Kind: active-timer-freed
 * Needs: CONFIG_DEBUG_OBJECTS_FREE CONFIG_DEBUG_OBJECTS_TIMERS
 */
#include <linux/timer.h>

#include "reports.h"

static struct timer_list timer;

static void goes_off(struct timer_list *unused)
{ /* guilty: handler */
}

static noinline void active_timer_left(void)
{
	timer_setup(&timer, goes_off, 0);
	mod_timer(&timer, jiffies + 60 * HZ);
}

report_module(active_timer_left);
