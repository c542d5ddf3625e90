// SPDX-License-Identifier: GPL-2.0
/*
 * Loops for long with preemption off while somebody waits for RCU.
 *
 * Kind: rcu-stall
 * Needs: CONFIG_RCU_STALL_COMMON
 */
#include <linux/delay.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>

#include "reports.h"

static noinline void loop(void)
{
	unsigned long end = jiffies + REPORT_SECONDS * HZ;

	preempt_disable();
	while (time_before(jiffies, end)) /* guilty: at */
		;
	preempt_enable();
}

static noinline void rcu_stall(void)
{
	unsigned long waits;

	report_set("/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout", "3");
	/* A grace period that is under way keeps the time-out that it began with. */
	waits = start_poll_synchronize_rcu();
	while (!poll_state_synchronize_rcu(waits))
		msleep(20);
	start_poll_synchronize_rcu();
	loop();
}

report_module(rcu_stall);
