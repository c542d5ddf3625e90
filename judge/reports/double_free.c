// SPDX-License-Identifier: GPL-2.0
/*
 * Frees an object twice.
 *
 * Kind: double-free
 */
#include <linux/slab.h>

#include "reports.h"

static noinline void give_back(void *object)
{
	kfree(object); /* guilty: kfree */
}

static noinline void double_free(void)
{
	void *object = kmalloc(64, GFP_KERNEL);
	void *again = object;

	OPTIMIZER_HIDE_VAR(again);
	give_back(object);
	kfree(again); /* guilty: at */
}

report_module(double_free);
