// SPDX-License-Identifier: GPL-2.0
/*
 * Follows a pointer under RCU without rcu_read_lock().
 *
 * Kind: rcu
 * Needs: CONFIG_PROVE_RCU
 */
#include <linux/rcupdate.h>

#include "reports.h"

static int __rcu *shared;

static noinline void rcu_usage(void)
{
	if (rcu_dereference(shared)) /* guilty: at */
		pr_info("there is something\n");
}

report_module(rcu_usage);
