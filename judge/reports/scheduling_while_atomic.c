// SPDX-License-Identifier: GPL-2.0
/*
 * Sleeps while a spinlock is held.
 *
 * Kind: scheduling-while-atomic
 * Needs: CONFIG_PREEMPT_COUNT
 */
#include <linux/sched.h>
#include <linux/spinlock.h>

#include "reports.h"

static DEFINE_SPINLOCK(lock);

static noinline void scheduling_while_atomic(void)
{
	spin_lock(&lock);
	schedule_timeout_uninterruptible(1); /* guilty: at */
	spin_unlock(&lock);
}

report_module(scheduling_while_atomic);
