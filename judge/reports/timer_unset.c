// SPDX-License-Identifier: GPL-2.0
/*
 * Waits for a timer that nobody has set up.
 *
 * Kind: odebug
 * Needs: CONFIG_DEBUG_OBJECTS_TIMERS
 */
#include <linux/timer.h>

#include "reports.h"

static struct timer_list timer;

static noinline void timer_unset(void)
{
	timer_delete_sync(&timer); /* guilty: at */
}

report_module(timer_unset);
