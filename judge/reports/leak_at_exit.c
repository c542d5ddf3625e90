// SPDX-License-Identifier: GPL-2.0
/*
 * Keeps an object until the module goes, and then forgets it: the names of its functions are
 * gone when the leak is found.
 *
 * Kind: leak
 * Needs: CONFIG_DEBUG_KMEMLEAK
 */
#include <linux/slab.h>

#include "reports.h"

static char *kept;

static noinline void leak_at_exit(void)
{
	kept = kmalloc(64, GFP_KERNEL); /* guilty: kmalloc */
}

static noinline void leave(void)
{
	kept = NULL;
}

report_module_with_exit(leak_at_exit, leave);
