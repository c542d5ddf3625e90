// SPDX-License-Identifier: GPL-2.0
/*
 * Gives up.
 *
 * Kind: panic
 */
#include <linux/panic.h>

#include "reports.h"

static noinline void panicked(void)
{
	panic("by hand"); /* guilty: at */
}

report_module(panicked);
