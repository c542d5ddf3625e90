// SPDX-License-Identifier: GPL-2.0
/*
 * Reads an object that kfree() has given back.
 *
 * Kind: use-after-free
 * Needs: CONFIG_KASAN
 */
#include <linux/slab.h>

#include "reports.h"

static noinline int *allocate(void)
{
	return kzalloc(64, GFP_KERNEL); /* guilty: kmalloc */
}

static noinline void give_back(int *object)
{
	kfree(object); /* guilty: kfree */
}

static noinline void use_after_free(void)
{
	int *object = allocate();
	int *again = object;

	OPTIMIZER_HIDE_VAR(again);
	give_back(object);
	if (READ_ONCE(*again)) /* guilty: at */
		pr_info("it has changed\n");
}

report_module(use_after_free);
