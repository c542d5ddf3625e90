// SPDX-License-Identifier: GPL-2.0
/*
 * Writes far behind a local variable, over the return address.
 *
 * Kind: stack
 * Needs: CONFIG_STACKPROTECTOR !CONFIG_KASAN
 */
#include "reports.h"

static noinline void fill(char *buf, unsigned int len)
{
	for (unsigned int i = 0; i < len; i++)
		WRITE_ONCE(buf[i], 'x');
}

static noinline void overflow(unsigned int len)
{
	char buf[16];

	fill(buf, len);
} /* guilty: at */

static noinline void stack_smashed(void)
{
	unsigned int len = 40;

	OPTIMIZER_HIDE_VAR(len);
	overflow(len);
}

report_module(stack_smashed);
