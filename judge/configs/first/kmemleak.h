/* SPDX-License-Identifier: GPL-2.0 */
/*
 * First in mm/kmemleak.c of the debug kernel. KASAN looks away while a scan reads a word, and
 * that was two calls for each of millions: the same here without any call.
 */
#include <linux/kasan.h>
#include <linux/sched.h>

#define kasan_disable_current()	((void)current->kasan_depth++)
#define kasan_enable_current()	((void)current->kasan_depth--)
/* The file has its own. */
#undef pr_fmt
