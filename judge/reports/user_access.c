// SPDX-License-Identifier: GPL-2.0
/*
 * Follows a pointer of user space without copy_from_user().
 *
 * Kind: user-access
 */
#include "reports.h"

static noinline void user_access(void)
{
	char *text = (char *)0x12345678;

	OPTIMIZER_HIDE_VAR(text);
	if (READ_ONCE(*text)) /* guilty: at */
		pr_info("there is something\n");
}

report_module(user_access);
