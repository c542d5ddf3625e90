// SPDX-License-Identifier: GPL-2.0
/*
 * Takes a spinlock inside of a raw one: with PREEMPT_RT the first may sleep.
 *
 * Kind: invalid-wait
 * Needs: CONFIG_PROVE_RAW_LOCK_NESTING
 */
#include <linux/spinlock.h>

#include "reports.h"

static DEFINE_RAW_SPINLOCK(raw);
static DEFINE_SPINLOCK(lock);

static noinline void invalid_wait(void)
{
	raw_spin_lock(&raw); /* guilty: locked */
	spin_lock(&lock); /* guilty: at */
	spin_unlock(&lock);
	raw_spin_unlock(&raw);
}

report_module(invalid_wait);
