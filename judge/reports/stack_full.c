// SPDX-License-Identifier: GPL-2.0
/*
 * Calls itself until the stack is used up.
 *
 * Kind: stack-full
 * Needs: CONFIG_VMAP_STACK !CONFIG_KASAN
 */
#include "reports.h"

static noinline int stack_depth(int depth)
{
	char buf[200];

	memset(buf, depth, sizeof(buf));
	depth = depth < INT_MAX ? stack_depth(depth + 1) : 0; /* guilty: at */
	OPTIMIZER_HIDE_VAR(depth);
	return buf[depth & 127];
}

static noinline void stack_full(void)
{
	if (stack_depth(1))
		pr_info("the stack has no end\n");
}

report_module(stack_full);
