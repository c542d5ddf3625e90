// SPDX-License-Identifier: GPL-2.0
/*
 * Follows a pointer out of memory that was freed, and so overwritten with 0x6b.
 *
 * Kind: wild-access
 */
#include "reports.h"

static noinline void wild_access(void)
{
	unsigned long freed = 0x6b6b6b6b6b6b6b6b;

	OPTIMIZER_HIDE_VAR(freed);
	if (READ_ONCE(*(char *)freed)) /* guilty: at */
		pr_info("there is something\n");
}

report_module(wild_access);
