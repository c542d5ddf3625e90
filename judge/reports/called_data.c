// SPDX-License-Identifier: GPL-2.0
/*
 * Calls data as if it were a function.
 *
 * Kind: oops
 */
#include "reports.h"

static char data[64] __aligned(64);

static noinline void called_data(void)
{
	void (*function)(void) = (void *)data;

	OPTIMIZER_HIDE_VAR(function);
	function(); /* guilty: at */
}

report_module(called_data);
