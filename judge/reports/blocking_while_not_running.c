// SPDX-License-Identifier: GPL-2.0
/*
 * The condition of a wait takes a mutex.
 *
 * Kind: blocking-while-not-running
 * Needs: CONFIG_DEBUG_ATOMIC_SLEEP
 */
#include <linux/mutex.h>
#include <linux/wait.h>

#include "reports.h"

static DECLARE_WAIT_QUEUE_HEAD(queue);
static DEFINE_MUTEX(mutex);
static int asked;

static noinline bool has_message(void)
{
	bool has;

	mutex_lock(&mutex); /* guilty: at */
	has = asked++;
	mutex_unlock(&mutex);
	return has;
}

static noinline void blocking_while_not_running(void)
{
	/* The first answer is no; the second comes once it is on the wait queue. */
	wait_event_timeout(queue, has_message(), HZ);
}

report_module(blocking_while_not_running);
