// SPDX-License-Identifier: GPL-2.0
/*
 * Shifts a number by more bits than it has.
 *
 * Kind: ubsan
 * Needs: CONFIG_UBSAN_SHIFT
 */
#include "reports.h"

static int number = 1;

static noinline void ubsan_shift(void)
{
	int bits = 40;

	OPTIMIZER_HIDE_VAR(bits);
	number <<= bits; /* guilty: at */
}

report_module(ubsan_shift);
