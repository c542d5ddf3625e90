// SPDX-License-Identifier: GPL-2.0
/*
 * Frees what is inside of an object.
 *
 * Kind: invalid-free
 * Needs: CONFIG_KASAN
 */
#include <linux/slab.h>

#include "reports.h"

static noinline void invalid_free(void)
{
	char *object = kmalloc(64, GFP_KERNEL);
	char *inside = object + 16;

	OPTIMIZER_HIDE_VAR(inside);
	kfree(inside); /* guilty: at */
	kfree(object);
}

report_module(invalid_free);
