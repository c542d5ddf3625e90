// SPDX-License-Identifier: GPL-2.0
/* Signals that arrive while a process sleeps in the device. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "device.h"
#include "harness.h"

#define SIZE 64

static void ignore_it(int signal)
{
	(void)signal;
}

static void handle_usr1(int flags)
{
	const struct sigaction action = { .sa_handler = ignore_it, .sa_flags = flags };

	sigaction(SIGUSR1, &action, NULL);
}

static void expect_interrupted(struct caller *caller)
{
	wait_asleep(caller);
	kill(caller->pid, SIGUSR1);
	wait_done(caller, "a signal handler without SA_RESTART ends the call");
	errno = caller->error;
	expect(caller->ret == -1 && caller->error == EINTR, caller->doing,
	       "-1 (EINTR) after a signal without SA_RESTART", "it returned %s",
	       result(caller->ret));
}

SOLO(signal_ends_a_sleeping_read,
     .says = "a signal without SA_RESTART ends a sleeping read() with EINTR",
     .page = "lab3.md#signals", .stages = FROM_STAGE(3))
{
	int fd = device_open(O_RDWR);

	handle_usr1(0);
	expect_interrupted(start_reader(fd, SIZE));
	device_send_text(fd, "for the next");
	device_expect_text(fd, "for the next");
	device_expect_empty(fd);
}

SOLO(signal_ends_a_sleeping_write,
     .says = "a signal without SA_RESTART ends a sleeping write(); nothing is queued",
     .page = "lab3.md#signals", .stages = FROM_STAGE(3), .params = "max_msgs=1")
{
	int fd = device_open(O_RDWR);

	handle_usr1(0);
	device_send_text(fd, "full");
	expect_interrupted(start_writer(fd, "never"));
	device_expect_text(fd, "full");
	device_expect_empty(fd);
}

/* After the handler has run, the kernel itself makes the call again. */
static void interrupt_and_resume(struct caller *caller)
{
	for (int i = 0; i < 3; i++) {
		long before;

		wait_asleep(caller);
		before = times_scheduled(caller);
		kill(caller->pid, SIGUSR1);
		while (times_scheduled(caller) == before && !caller->done && wait_a_moment())
			;
	}
	wait_asleep(caller);
}

SOLO(read_restarts_after_a_signal,
     .says = "with SA_RESTART a sleeping read() goes on after the signal",
     .page = "lab3.md#signals", .stages = FROM_STAGE(3))
{
	int fd = device_open(O_RDWR);
	struct caller *reader;

	handle_usr1(SA_RESTART);
	reader = start_reader(fd, SIZE);
	interrupt_and_resume(reader);
	device_send_text(fd, "at last");
	wait_returned(reader, 7, "it gets the message after three signals");
	device_expect_empty(fd);
}

SOLO(write_restarts_after_a_signal,
     .says = "with SA_RESTART a sleeping write() goes on and writes once",
     .page = "lab3.md#signals", .stages = FROM_STAGE(3), .params = "max_msgs=1")
{
	int fd = device_open(O_RDWR);
	struct caller *writer;

	handle_usr1(SA_RESTART);
	device_send_text(fd, "full");
	writer = start_writer(fd, "at last");
	interrupt_and_resume(writer);
	device_expect_text(fd, "full");
	wait_returned(writer, 7, "it writes its message after three signals");
	device_expect_text(fd, "at last");
	device_expect_empty(fd);
}

SOLO(sleeper_survives_stop_and_continue,
     .says = "Ctrl-Z and fg: a stopped sleeper goes on sleeping, then gets its message",
     .page = "lab3.md#signals", .stages = FROM_STAGE(3))
{
	int fd = device_open(O_RDWR);
	struct caller *reader = start_reader(fd, SIZE);

	wait_asleep(reader);
	kill(reader->pid, SIGSTOP);
	while (is_asleep(reader) && wait_a_moment())
		;
	kill(reader->pid, SIGCONT);
	wait_asleep(reader);
	device_send_text(fd, "continued");
	wait_returned(reader, 9, "it gets the message after SIGSTOP and SIGCONT");
}

SOLO(sleepers_can_be_killed,
     .says = "SIGKILL ends a sleeping reader and a sleeping writer at once",
     .page = "lab3.md#signals", .stages = FROM_STAGE(3), .params = "max_msgs=1")
{
	int fd = device_open(O_RDWR);
	struct caller *reader = start_reader(fd, SIZE), *writer;

	wait_asleep(reader);
	kill_and_reap(reader);
	device_send_text(fd, "full");
	writer = start_writer(fd, "never");
	wait_asleep(writer);
	kill_and_reap(writer);
	device_expect_text(fd, "full");
	device_expect_empty(fd);
}
