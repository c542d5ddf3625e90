// SPDX-License-Identifier: GPL-2.0
/*
 * Runs into a BUG().
 *
 * Kind: bug
 */
#include <linux/bug.h>

#include "reports.h"

static noinline void bug(void)
{
	int queued = -1;

	OPTIMIZER_HIDE_VAR(queued);
	BUG_ON(queued < 0); /* guilty: at */
}

report_module(bug);
