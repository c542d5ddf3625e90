// SPDX-License-Identifier: GPL-2.0
/*
 * kmsgpipe, lab 1: a character device that echoes what was written to it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>

#include "kmsgpipe.h"
#include "kmsgpipe_compat.h"

static int __init kmsgpipe_init(void)
{
	pr_info("loaded\n");
	return 0;
}

static void __exit kmsgpipe_exit(void)
{
	pr_info("unloaded\n");
}

module_init(kmsgpipe_init);
module_exit(kmsgpipe_exit);

MODULE_DESCRIPTION("kmsgpipe lab 1: a character device that echoes");
MODULE_LICENSE("GPL");
