// SPDX-License-Identifier: GPL-2.0
/*
 * Deletes an entry of a list twice.
 *
 * Kind: list
 * Needs: CONFIG_DEBUG_LIST
 */
#include <linux/list.h>

#include "reports.h"

static LIST_HEAD(messages);
static struct list_head first;

static noinline void list_corruption(void)
{
	list_add(&first, &messages);
	list_del(&first);
	list_del(&first); /* guilty: at */
}

report_module(list_corruption);
