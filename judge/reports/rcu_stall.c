// SPDX-License-Identifier: GPL-2.0
/*
 * Loops for long with preemption off while somebody waits for RCU.
 *
 * Kind: rcu-stall
 * Needs: CONFIG_RCU_STALL_COMMON
 */
#include <linux/completion.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>

#include "reports.h"

static struct rcu_head waits;
static DECLARE_COMPLETION(called);

static void callback(struct rcu_head *unused)
{
	complete(&called);
}

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
	report_set("/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout", "3");
	call_rcu(&waits, callback);
	loop();
	wait_for_completion(&called);
}

report_module(rcu_stall);
