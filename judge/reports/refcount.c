// SPDX-License-Identifier: GPL-2.0
/*
 * Puts a reference once too often.
 *
 * Kind: refcount
 */
#include <linux/refcount.h>

#include "reports.h"

static refcount_t count = REFCOUNT_INIT(1);

static noinline void refcount(void)
{
	if (refcount_dec_and_test(&count))
		refcount_dec(&count); /* guilty: at */
}

report_module(refcount);
