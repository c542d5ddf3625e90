// SPDX-License-Identifier: GPL-2.0
/*
 * Asks for the CPU's number, which may be another one a moment later.
 *
 * Kind: preemptible
 * Needs: CONFIG_DEBUG_PREEMPT
 */
#include <linux/smp.h>

#include "reports.h"

static noinline void moved_between_cpus(void)
{
	pr_info("on CPU %d\n", smp_processor_id()); /* guilty: at */
}

report_module(moved_between_cpus);
