// SPDX-License-Identifier: GPL-2.0
/*
 * Writes one byte behind a local variable.
 *
 * Kind: stack-out-of-bounds
 * Needs: CONFIG_KASAN CONFIG_KASAN_STACK
 */
#include "reports.h"

static noinline void fill(char *buf, unsigned int len)
{
	for (unsigned int i = 0; i < len; i++)
		WRITE_ONCE(buf[i], 'x'); /* guilty: at */
}

static noinline void stack_out_of_bounds(void)
{
	unsigned int len = 17;
	char buf[16];

	OPTIMIZER_HIDE_VAR(len);
	fill(buf, len);
}

report_module(stack_out_of_bounds);
