/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Callers whose buffer is not there yet: the copy to or from it stops half-way into the
 * system call, for as long as the test likes. What a page that comes from a slow disk does
 * by chance, userfaultfd(2) does on demand.
 */
#ifndef SLOW_H
#define SLOW_H

#include "device.h"

/* Starts a process whose read() of @size bytes sleeps in the copy until let_go(). */
struct caller *start_slow_reader(int fd, size_t size);

/* The same, but only the first @good bytes of its buffer come: in the end it gets EFAULT. */
struct caller *start_slow_bad_reader(int fd, size_t size, size_t good);

/* The same as start_slow_reader() for a write() of @text. */
struct caller *start_slow_writer(int fd, const char *text);

/* The buffers of the slow callers become usable, now and from now on. */
void let_go(void);

#endif
