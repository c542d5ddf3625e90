// SPDX-License-Identifier: GPL-2.0
/*
 * Frees a work that is queued.
 *
 * Kind: active-work-freed
 * Needs: CONFIG_DEBUG_OBJECTS_FREE CONFIG_DEBUG_OBJECTS_WORK
 */
#include <linux/completion.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "reports.h"

static DECLARE_COMPLETION(freed);

static void waits(struct work_struct *unused)
{
	wait_for_completion(&freed);
}

static void cleans_up(struct work_struct *unused)
{ /* guilty: handler */
}

static DECLARE_WORK(first, waits);

static noinline void active_work_freed(void)
{
	struct workqueue_struct *queue = alloc_ordered_workqueue("reports", 0);
	struct work_struct *second = kmalloc(sizeof(*second), GFP_KERNEL);

	if (!queue || !second)
		return;
	INIT_WORK(second, cleans_up);
	/* One after the other: the second is queued as long as the first waits. */
	queue_work(queue, &first);
	queue_work(queue, second);
	kfree(second); /* guilty: at */
	complete(&freed);
}

report_module(active_work_freed);
