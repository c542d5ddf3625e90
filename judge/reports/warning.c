// SPDX-License-Identifier: GPL-2.0
/*
 * Runs into a WARN().
 *
 * Kind: warning
 */
#include <linux/bug.h>

#include "reports.h"

static noinline void warning(void)
{
	int queued = -1;

	OPTIMIZER_HIDE_VAR(queued);
	WARN_ON(queued < 0); /* guilty: at */
}

report_module(warning);
