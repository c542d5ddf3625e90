/* SPDX-License-Identifier: GPL-2.0 */
/*
 * First in lib/stackdepot.c of the debug kernel. A table of eight megabytes is for weeks of
 * fuzzing; without KASAN's wish it is as large as the machine's memory asks for.
 */
#include <linux/kasan-enabled.h>

#define kasan_enabled()	false
