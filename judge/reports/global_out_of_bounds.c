// SPDX-License-Identifier: GPL-2.0
/*
 * Writes one byte behind a static variable.
 *
 * Kind: global-out-of-bounds
 * Needs: CONFIG_KASAN
 */
#include "reports.h"

static char text[12];

static noinline void global_out_of_bounds(void)
{
	char *end = text + sizeof(text);

	OPTIMIZER_HIDE_VAR(end);
	WRITE_ONCE(*end, 0); /* guilty: at */
}

report_module(global_out_of_bounds);
