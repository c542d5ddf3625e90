// SPDX-License-Identifier: GPL-2.0
/*
 * Allocates an object and forgets it.
 *
 * Kind: leak
 * Needs: CONFIG_DEBUG_KMEMLEAK
 */
#include <linux/slab.h>

#include "reports.h"

static noinline void leak(void)
{
	char *object = kmalloc(64, GFP_KERNEL); /* guilty: kmalloc */

	if (object)
		object[0] = 'x';
}

report_module(leak);
