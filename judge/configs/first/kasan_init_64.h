/* SPDX-License-Identifier: GPL-2.0 */
/*
 * First in arch/x86/mm/kasan_init_64.c of the debug kernel. KASAN's shadow holds no pointers, and
 * is half of all memory that a scan for lost memory would read. Other architectures allocate
 * it this way already.
 */
#include <linux/memblock.h>

#undef MEMBLOCK_ALLOC_ACCESSIBLE
#define MEMBLOCK_ALLOC_ACCESSIBLE	MEMBLOCK_ALLOC_NOLEAKTRACE
/* The file has its own. */
#undef pr_fmt
