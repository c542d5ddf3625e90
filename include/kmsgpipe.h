/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * kmsgpipe: what the driver and user space agree on.
 *
 * Every stage of the course and every program in userland/ includes this one
 * file, so that the two sides cannot drift apart.
 */
#ifndef _UAPI_KMSGPIPE_H
#define _UAPI_KMSGPIPE_H

/* The class under /sys/class, and the stem of the node's name in /dev. */
#define KMSGPIPE_NAME		"kmsgpipe"
#define KMSGPIPE_NODE		"/dev/kmsgpipe0"

/*
 * The longest message in bytes: what a driver starts with, and how far a
 * module parameter may raise it.
 */
#define KMSGPIPE_MSG_SIZE	256
#define KMSGPIPE_MSG_SIZE_MAX	4096

/* The same two figures for the number of messages that may be queued. */
#define KMSGPIPE_MAX_MSGS	64
#define KMSGPIPE_MAX_MSGS_MAX	65536

#endif /* _UAPI_KMSGPIPE_H */
