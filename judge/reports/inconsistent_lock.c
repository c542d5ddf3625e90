// SPDX-License-Identifier: GPL-2.0
/*
 * A timer takes a spinlock that others take with interrupts on.
 *
 * Kind: irq-unsafe-lock
 * Needs: CONFIG_PROVE_LOCKING
 */
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/timer.h>

#include "reports.h"

static DEFINE_SPINLOCK(lock);
static struct timer_list timer;

static void goes_off(struct timer_list *unused)
{
	spin_lock(&lock); /* guilty: at */
	spin_unlock(&lock);
}

static noinline void inconsistent_lock(void)
{
	timer_setup(&timer, goes_off, 0);
	spin_lock(&lock); /* guilty: earlier */
	spin_unlock(&lock);
	mod_timer(&timer, jiffies);
	while (timer_pending(&timer))
		cond_resched();
	timer_delete_sync(&timer);
}

report_module(inconsistent_lock);
