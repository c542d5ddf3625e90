// SPDX-License-Identifier: GPL-2.0
/*
 * Looks behind the end of an array.
 *
 * Kind: ubsan
 * Needs: CONFIG_UBSAN_BOUNDS
 */
#include "reports.h"

static int numbers[4];

static noinline void ubsan_bounds(void)
{
	int i = 4;

	OPTIMIZER_HIDE_VAR(i);
	WRITE_ONCE(numbers[3], numbers[i]); /* guilty: at */
}

report_module(ubsan_bounds);
