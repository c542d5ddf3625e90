// SPDX-License-Identifier: GPL-2.0
/*
 * Writes into an object that kfree() has given back. Without KASAN the allocator sees it when
 * it gives the object out again.
 *
 * Kind: use-after-free
 * Needs: !CONFIG_KASAN CONFIG_SLUB_DEBUG
 */
#include <linux/slab.h>

#include "reports.h"

#define OBJECTS 64

static noinline void give_back(int *object)
{
	kfree(object); /* guilty: kfree */
}

static noinline void write_after_free(void)
{
	static void *objects[OBJECTS];
	int *object = kzalloc(64, GFP_KERNEL); /* guilty: kmalloc */
	int *again = object;

	OPTIMIZER_HIDE_VAR(again);
	give_back(object);
	WRITE_ONCE(again[4], 1);
	for (int i = 0; i < OBJECTS; i++)
		objects[i] = kmalloc(64, GFP_KERNEL); /* guilty: found */
	for (int i = 0; i < OBJECTS; i++)
		kfree(objects[i]);
}

report_module(write_after_free);
