// SPDX-License-Identifier: GPL-2.0
/*
 * A lock of the timer is held while another one is taken that interrupts may interrupt.
 *
 * Kind: irq-unsafe-lock
 * Needs: CONFIG_PROVE_LOCKING
 */
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/timer.h>

#include "reports.h"

static DEFINE_SPINLOCK(timers);
static DEFINE_SPINLOCK(others);
static struct timer_list timer;

static void goes_off(struct timer_list *unused)
{
	spin_lock(&timers); /* guilty: at */
	spin_unlock(&timers);
}

static noinline void irq_inversion(void)
{
	timer_setup(&timer, goes_off, 0);
	spin_lock_bh(&timers);
	spin_lock(&others);
	spin_unlock(&others);
	spin_unlock_bh(&timers);
	spin_lock(&others); /* guilty: earlier */
	spin_unlock(&others);
	mod_timer(&timer, jiffies);
	while (timer_pending(&timer))
		cond_resched();
	timer_delete_sync(&timer);
}

report_module(irq_inversion);
