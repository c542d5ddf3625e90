// SPDX-License-Identifier: GPL-2.0
/*
 * Divides by zero.
 *
 * Kind: divide
 */
#include "reports.h"

static noinline void divide(void)
{
	int zero = 0;

	OPTIMIZER_HIDE_VAR(zero);
	pr_info("%d\n", 100 / zero); /* guilty: at */
}

report_module(divide);
