// SPDX-License-Identifier: GPL-2.0
/*
 * Copies a string into an array that is too short for it.
 *
 * Kind: fortify
 * Needs: CONFIG_FORTIFY_SOURCE
 */
#include "reports.h"

static char longer[32] = "longer than eight bytes";

static noinline void fortify(void)
{
	char name[8];

	strcpy(name, longer); /* guilty: at */
	pr_info("%s\n", name);
}

report_module(fortify);
