// SPDX-License-Identifier: GPL-2.0
/* O_NONBLOCK, poll(), select() and epoll. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <unistd.h>

#include "device.h"
#include "harness.h"

#define SIZE 64

SOLO(nonblocking_read_says_eagain,
     .says = "with O_NONBLOCK read() of an empty queue gets EAGAIN", .page = "lab3.md#nonblocking",
     .stages = FROM_STAGE(3))
{
	char buf[SIZE];
	int fd = device_open(O_RDWR | O_NONBLOCK);

	expect_errno(read(fd, buf, sizeof(buf)), EAGAIN);
	device_send_text(fd, "there");
	expect_value(read(fd, buf, sizeof(buf)), 5);
	expect_errno(read(fd, buf, sizeof(buf)), EAGAIN);
}

SOLO(nonblocking_write_says_eagain,
     .says = "with O_NONBLOCK write() to a full queue gets EAGAIN", .page = "lab3.md#nonblocking",
     .stages = FROM_STAGE(3), .params = "max_msgs=1")
{
	int fd = device_open(O_RDWR | O_NONBLOCK);

	device_send_text(fd, "full");
	expect_errno(write(fd, "more", 4), EAGAIN);
	device_expect_text(fd, "full");
	device_send_text(fd, "more");
	expect_errno(write(fd, "more", 4), EAGAIN);
	device_expect_text(fd, "more");
	device_expect_empty(fd);
}

SOLO(fcntl_switches_blocking,
     .says = "O_NONBLOCK can be set and cleared later by fcntl()", .page = "lab3.md#nonblocking",
     .stages = FROM_STAGE(3), .params = "max_msgs=1")
{
	char buf[SIZE];
	int fd = device_open(O_RDWR), flags = fcntl(fd, F_GETFL);
	struct caller *caller;

	expect_value(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
	expect_errno(read(fd, buf, sizeof(buf)), EAGAIN);
	device_send_text(fd, "full");
	expect_errno(write(fd, "more", 4), EAGAIN);

	expect_value(fcntl(fd, F_SETFL, flags), 0);
	caller = start_writer(fd, "more");
	wait_asleep(caller);
	device_expect_text(fd, "full");
	wait_returned(caller, 4, "it wakes when there is room");
	device_expect_text(fd, "more");
	caller = start_reader(fd, SIZE);
	wait_asleep(caller);
	device_send_text(fd, "end");
	wait_returned(caller, 3, "it wakes when there is a message");
}

static void expect_ready(int fd, bool in, bool out, const char *when)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM };
	short wanted = (in ? POLLIN | POLLRDNORM : 0) | (out ? POLLOUT | POLLWRNORM : 0);
	char text[64];

	expect(poll(&pfd, 1, 0) >= 0, "poll()", "0 or 1", "%s", result(-1));
	snprintf(text, sizeof(text), "%s%s", in ? "readable" : "not readable",
		 out ? ", writable" : ", not writable");
	expect((pfd.revents & (POLLIN | POLLOUT)) == (wanted & (POLLIN | POLLOUT)), when, text,
	       "revents 0x%x (POLLIN 0x1, POLLOUT 0x4)", pfd.revents);
	expect(!(pfd.revents & (POLLERR | POLLHUP | POLLNVAL)), when, "no error",
	       "revents 0x%x (POLLERR 0x8, POLLHUP 0x10, POLLNVAL 0x20)", pfd.revents);
}

SOLO(poll_tells_the_state,
     .says = "poll(): IN when there is a message, OUT when there is room", .page = "lab3.md#poll",
     .stages = FROM_STAGE(3), .params = "max_msgs=2")
{
	int fd = device_open(O_RDWR);

	expect_ready(fd, false, true, "poll() of an empty queue");
	device_send_numbers(fd, 0, 1);
	expect_ready(fd, true, true, "poll() with one of two slots used");
	device_send_numbers(fd, 1, 1);
	expect_ready(fd, true, false, "poll() of a full queue");
	device_expect_numbers(fd, 0, 1);
	expect_ready(fd, true, true, "poll() of a queue no longer full");
	device_expect_numbers(fd, 1, 1);
	expect_ready(fd, false, true, "poll() of a queue empty again");
}

SOLO(poll_wakes_on_a_message,
     .says = "a process asleep in poll() wakes when a message comes", .page = "lab3.md#poll",
     .stages = FROM_STAGE(3))
{
	int fd = device_open(O_RDWR);
	struct caller *poller = start_poller(fd, POLLIN);

	wait_asleep(poller);
	device_send_text(fd, "news");
	wait_returned(poller, POLLIN, "poll() wakes and says POLLIN when a message is written");
	device_expect_text(fd, "news");
}

SOLO(poll_wakes_on_room,
     .says = "a process asleep in poll() wakes when there is room again", .page = "lab3.md#poll",
     .stages = FROM_STAGE(3), .params = "max_msgs=1")
{
	int fd = device_open(O_RDWR);
	struct caller *poller;

	device_send_text(fd, "full");
	poller = start_poller(fd, POLLOUT);
	wait_asleep(poller);
	device_expect_text(fd, "full");
	wait_returned(poller, POLLOUT, "poll() wakes and says POLLOUT when a message is read");
}

static long call_select(struct caller *self)
{
	fd_set in;

	FD_ZERO(&in);
	FD_SET(self->fd, &in);
	return select(self->fd + 1, &in, NULL, NULL, NULL);
}

static long call_select_out(struct caller *self)
{
	fd_set out;

	FD_ZERO(&out);
	FD_SET(self->fd, &out);
	return select(self->fd + 1, NULL, &out, NULL, NULL);
}

SOLO(select_wakes_as_poll_does,
     .says = "select() works as poll() does, in both directions", .page = "lab3.md#poll",
     .stages = FROM_STAGE(3), .params = "max_msgs=1")
{
	struct timeval now = { 0 };
	int fd = device_open(O_RDWR);
	struct caller *caller;
	fd_set in, out;

	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_SET(fd, &in);
	FD_SET(fd, &out);
	expect_value(select(fd + 1, &in, &out, NULL, &now), 1);
	expect(!FD_ISSET(fd, &in) && FD_ISSET(fd, &out), "select() on an empty queue",
	       "writable only", "readable: %d, writable: %d", !!FD_ISSET(fd, &in),
	       !!FD_ISSET(fd, &out));
	caller = start_caller(fd, "select()", call_select);
	wait_asleep(caller);
	device_send_text(fd, "news");
	wait_returned(caller, 1, "select() wakes when a message is written");
	caller = start_caller(fd, "select()", call_select_out);
	wait_asleep(caller);
	device_expect_text(fd, "news");
	wait_returned(caller, 1, "select() wakes when a message is read");
}

static int epoll_on(int fd, unsigned int events)
{
	struct epoll_event event = { .events = events };
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	expect_value(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
	return epoll;
}

static unsigned int epoll_now(int epoll)
{
	struct epoll_event event = { 0 };
	int n = epoll_wait(epoll, &event, 1, 0);

	expect(n >= 0, "epoll_wait()", "0 or 1", "%s", result(n));
	return n ? event.events : 0;
}

SOLO(edge_triggered_epoll_sees_news,
     .says = "edge-triggered epoll reports a message after all were read",
     .page = "lab3.md#epoll", .stages = FROM_STAGE(3))
{
	int fd = device_open(O_RDWR | O_NONBLOCK), epoll = epoll_on(fd, EPOLLIN | EPOLLET);

	expect(epoll_now(epoll) == 0, "epoll_wait() on an empty queue", "no event", "an event");
	for (int i = 0; i < 3; i++) {
		unsigned int events;

		device_send_numbers(fd, 2 * i, 2);
		events = epoll_now(epoll);
		expect(events & EPOLLIN, "write(), then epoll_wait() with EPOLLET", "EPOLLIN",
		       "events 0x%x", events);
		device_expect_numbers(fd, 2 * i, 2);
		device_expect_empty(fd);
		events = epoll_now(epoll);
		expect(!(events & EPOLLIN), "epoll_wait() after everything was read", "no EPOLLIN",
		       "events 0x%x", events);
	}
}

SOLO(edge_triggered_epoll_sees_room,
     .says = "edge-triggered epoll reports room in a queue that was full", .page = "lab3.md#epoll",
     .stages = FROM_STAGE(3), .params = "max_msgs=1")
{
	int fd = device_open(O_RDWR | O_NONBLOCK), epoll;

	device_send_text(fd, "full");
	epoll = epoll_on(fd, EPOLLOUT | EPOLLET);
	expect(epoll_now(epoll) == 0, "epoll_wait() on a full queue", "no event", "an event");
	for (int i = 0; i < 3; i++) {
		unsigned int events;

		device_expect_text(fd, "full");
		events = epoll_now(epoll);
		expect(events & EPOLLOUT,
		       "read() from a full queue, then epoll_wait() with EPOLLET", "EPOLLOUT",
		       "events 0x%x", events);
		device_send_text(fd, "full");
		expect_errno(write(fd, "more", 4), EAGAIN);
	}
}

static long call_epoll(struct caller *self)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, self->fd, &event))
		return -1;
	return epoll_wait(epoll, &event, 1, -1);
}

SOLO(epoll_wakes_on_a_message,
     .says = "a process asleep in epoll_wait() wakes when a message comes", .page = "lab3.md#epoll",
     .stages = FROM_STAGE(3))
{
	int fd = device_open(O_RDWR);
	struct caller *caller = start_caller(fd, "epoll_wait()", call_epoll);

	wait_asleep(caller);
	device_send_text(fd, "news");
	wait_returned(caller, 1, "epoll_wait() wakes when a message is written");
}

/* Waits for the next time that there is room, having seen that there is some now. */
static long call_exclusive_epoll(struct caller *self)
{
	struct epoll_event event = { .events = EPOLLOUT | EPOLLET | EPOLLEXCLUSIVE };
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, self->fd, &event))
		return -1;
	if (epoll_wait(epoll, &event, 1, -1) != 1)
		return -1;
	return epoll_wait(epoll, &event, 1, -1);
}

SOLO(epoll_for_room_takes_no_wakeup_of_a_reader,
     .says = "who waits for room in epoll takes no wake-up from a reader",
     .page = "lab3.md#epoll", .stages = FROM_STAGE(3))
{
	int fd = device_open(O_RDWR);
	struct caller *poller = start_caller(fd, "epoll_wait()", call_exclusive_epoll), *reader;

	wait_asleep(poller);
	reader = start_reader(fd, SIZE);
	wait_asleep(reader);
	device_send_text(fd, "news");
	wait_returned(reader, 4, "it wakes when a message is written");
}
