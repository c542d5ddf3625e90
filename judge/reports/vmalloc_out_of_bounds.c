// SPDX-License-Identifier: GPL-2.0
/*
 * Writes one byte behind memory from vmalloc().
 *
 * Kind: vmalloc-out-of-bounds
 * Needs: CONFIG_KASAN_VMALLOC
 */
#include <linux/vmalloc.h>

#include "reports.h"

static noinline void vmalloc_out_of_bounds(void)
{
	char *memory = vmalloc(2000);
	char *end = memory + 2000;

	OPTIMIZER_HIDE_VAR(end);
	WRITE_ONCE(*end, 1); /* guilty: at */
	vfree(memory);
}

report_module(vmalloc_out_of_bounds);
