/* SPDX-License-Identifier: GPL-2.0 */
/* The device as tests use it: opening, filling, and callers that sleep in it. */
#ifndef DEVICE_H
#define DEVICE_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "kmsgpipe.h"

/* Opens the device or fails the test. */
int device_open(int flags);

/* Writes one message or fails the test. */
void device_send(int fd, const void *data, size_t len);

/* Writes a text without its terminating zero, as echo -n does. */
void device_send_text(int fd, const char *text);

/* Reads one message, or what is there, and fails the test if it is not @text. */
void device_expect_text(int fd, const char *text);

/* Fails the test unless the queue (or the text, in lab 1) is empty now. */
void device_expect_empty(int fd);

/* Queues @count numbered messages; device_expect_numbers() wants them back in order. */
void device_send_numbers(int fd, int first, int count);
void device_expect_numbers(int fd, int first, int count);

/* True if poll() reports this event right now. Takes nothing out of the queue. */
bool device_is_ready(int fd, short event);

/* Takes a message if there is one, without waiting; true if there was. */
bool device_has_message(int fd);

/* Counters and limits by KMSGPIPE_GET_STATS (lab 4 and later), or the test fails. */
struct kmsgpipe_stats device_stats(int fd);

/* Memory that the processes of a test share; zeroed. */
void *shared_memory(size_t size);

/*
 * A buffer of @len bytes of which only the first @good can be touched: the next byte
 * is on a page without access. With @writable false the good part is read-only.
 */
void *partly_bad_buffer(size_t len, size_t good, bool writable);

/**
 * struct caller - a process that makes one system call on the device
 * @pid: the process
 * @doing: the call in words, for reports
 * @fd: the file it works on
 * @done: the call has returned
 * @ret: what it returned
 * @error: errno if it returned -1
 * @in_copy: it sleeps in the copy, or has slept there (slow callers, see slow.h)
 * @data: what a reader got
 */
struct caller {
	pid_t pid;
	const char *doing;
	int fd;
	volatile bool done;
	volatile long ret;
	volatile int error;
	volatile bool in_copy;
	char data[KMSGPIPE_MSG_SIZE_MAX];
};

/* Starts a process that reads at most @size bytes into its own buffer. */
struct caller *start_reader(int fd, size_t size);

/* The same into @buf, which may be a bad one. */
struct caller *start_reader_into(int fd, void *buf, size_t size);

struct caller *start_writer(int fd, const char *text);

/* A process that calls poll() for @events and returns what poll() reported. */
struct caller *start_poller(int fd, short events);

/* Any other call. @fn returns what counts as the result. */
struct caller *start_caller(int fd, const char *doing, long (*fn)(struct caller *self));

/*
 * The same on a file of its own, for calls that sleep: device_send_text() and the like set
 * O_NONBLOCK for a moment, and a driver may look at that whenever it wakes. The readers and
 * writers above have one, too.
 */
struct caller *start_sleeper(int fd, const char *doing, long (*fn)(struct caller *self));

/* Until the process sleeps in the kernel, where a signal can reach it; else the test fails. */
void wait_asleep(struct caller *caller);

/* True if it sleeps at this moment. */
bool is_asleep(const struct caller *caller);

/*
 * After anything that may have woken the process, perhaps for nothing: waits until its call has
 * returned or it is back asleep; true if it is.
 */
bool sleeps_again(const struct caller *caller);

/* True if it sleeps at this moment, be it where no signal can reach it. */
bool is_waiting(const struct caller *caller);

/* How often the process was given a CPU so far. */
long times_scheduled(const struct caller *caller);

/*
 * Puts this process, and those that it starts from now on, on this CPU; ANY_CPU undoes it. On a
 * machine without such a CPU nothing changes: a race is slower there, but goes on.
 */
void run_on_cpu(int cpu);

#define ANY_CPU (-1)

/* Real-time priority: nobody else on this CPU runs until we sleep or give it back. Root only. */
void keep_the_cpu(bool keep);

/* Until @count messages have expired since the driver was loaded (lab 5); else the test fails. */
void wait_expired(int fd, unsigned long long count);

/* Until the call has returned; @why is what should wake it, for the report. */
void wait_done(struct caller *caller, const char *why);

/* wait_done() and fail the test unless it returned @ret. */
void wait_returned(struct caller *caller, long ret, const char *why);

/* Until the process is gone, after a SIGKILL; else the test fails. */
void kill_and_reap(struct caller *caller);

#endif
