// SPDX-License-Identifier: GPL-2.0
/*
 * Writes one byte behind an allocated object.
 *
 * Kind: slab-out-of-bounds
 * Needs: CONFIG_KASAN
 */
#include <linux/slab.h>

#include "reports.h"

static noinline void slab_out_of_bounds(void)
{
	char *object = kmalloc(60, GFP_KERNEL); /* guilty: kmalloc */
	char *end = object + 60;

	OPTIMIZER_HIDE_VAR(end);
	WRITE_ONCE(*end, 1); /* guilty: at */
	kfree(object);
}

report_module(slab_out_of_bounds);
