// SPDX-License-Identifier: GPL-2.0
/*
 * Calls a function in memory that is given back, as a timer does that outlives its module.
 *
 * Kind: code-gone
 */
#include <linux/vmalloc.h>

#include "reports.h"

static noinline void code_gone(void)
{
	void *memory = vmalloc(PAGE_SIZE);
	void (*function)(void) = memory;

	OPTIMIZER_HIDE_VAR(function);
	vfree(memory);
	vm_unmap_aliases();
	function(); /* guilty: at */
}

report_module(code_gone);
