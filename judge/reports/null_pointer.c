// SPDX-License-Identifier: GPL-2.0
/*
 * Follows a NULL pointer.
 *
 * Kind: null-pointer
 */
#include <linux/list.h>

#include "reports.h"

static noinline void null_pointer(void)
{
	struct list_head *entry = NULL;

	OPTIMIZER_HIDE_VAR(entry);
	WRITE_ONCE(entry->prev, NULL); /* guilty: at */
}

report_module(null_pointer);
