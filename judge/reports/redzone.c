// SPDX-License-Identifier: GPL-2.0
/*
 * Writes behind an allocated object. Without KASAN the allocator sees it when the object is
 * freed.
 *
 * Kind: slab-out-of-bounds
 * Needs: !CONFIG_KASAN CONFIG_SLUB_DEBUG
 */
#include <linux/slab.h>

#include "reports.h"

static noinline void redzone(void)
{
	char *object = kmalloc(64, GFP_KERNEL); /* guilty: kmalloc */
	char *end = object + 64;

	OPTIMIZER_HIDE_VAR(end);
	WRITE_ONCE(*end, 1);
	kfree(object); /* guilty: found */
}

report_module(redzone);
