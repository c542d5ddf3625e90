/* SPDX-License-Identifier: GPL-2.0 */
/* When the kernel tells of lost memory (kmemleak). */
#ifndef KMEMLEAK_H
#define KMEMLEAK_H

/* The environment variable that tells programs what shorten_leak_age() has set, in ms. */
#define LEAK_AGE "KMEMLEAK_AGE_MS"
/* And this one, that a kernel of ours needs no second scan: judge/configs/first/kmemleak.h. */
#define LEAK_SCANS "KMEMLEAK_SCANS"

/*
 * Lets kmemleak tell earlier than after five seconds, where that can be done, and finds out how
 * many scans it takes: both go to the environment. For root.
 */
void shorten_leak_age(void);

#endif
