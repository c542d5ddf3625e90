// SPDX-License-Identifier: GPL-2.0
/*
 * kmsgpipe, lab 4, another way: a ring of pointers for a list, a misc device for a class
 * of its own, one global struct, and other words in the log.
 *
 * ring.lock guards the ring and the numbers. ring.reader belongs to the one process that
 * copies the oldest packet out; it is taken first.
 */
#define pr_fmt(fmt) "kmsgpipe ring: " fmt

#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "kmsgpipe.h"

static int max_msgs = KMSGPIPE_MAX_MSGS;
module_param(max_msgs, int, 0444);
MODULE_PARM_DESC(max_msgs, "slots in the ring");

static int msg_size = KMSGPIPE_MSG_SIZE;
module_param(msg_size, int, 0444);
MODULE_PARM_DESC(msg_size, "bytes in the largest packet");

struct packet {
	u16 len;
	u8 bytes[];
};

static struct {
	struct mutex reader;	/* held by who copies the oldest packet out */
	struct mutex settings;	/* one change of the limits at a time */
	struct mutex lock;	/* guards what follows */
	struct packet **slots;
	unsigned int size;	/* of slots[] */
	unsigned int head;	/* the oldest packet */
	unsigned int used;
	unsigned int max_msgs;
	unsigned int msg_size;
	bool busy;		/* the oldest packet is being read */
	u64 in, out, cleared, expired;
	wait_queue_head_t not_empty, not_full;
} ring;

/* The place of the packet before which n others are in the ring. */
static struct packet **place(unsigned int n)
{
	return &ring.slots[(ring.head + n) % ring.size];
}

static bool is_full(void)
{
	return READ_ONCE(ring.used) >= READ_ONCE(ring.max_msgs);
}

static bool is_empty(void)
{
	return READ_ONCE(ring.used) == 0;
}

static void tell_readers(void)
{
	wake_up_interruptible_poll(&ring.not_empty, EPOLLIN | EPOLLRDNORM);
}

static ssize_t ring_write(struct file *file, const char __user *from, size_t n, loff_t *off)
{
	struct packet *packet;
	int err;

	if (n == 0)
		return 0;
	if (n > READ_ONCE(ring.msg_size))
		return -EMSGSIZE;

	packet = kmalloc(sizeof(*packet) + n, GFP_KERNEL);
	if (!packet)
		return -ENOMEM;
	packet->len = n;
	if (copy_from_user(packet->bytes, from, n)) {
		err = -EFAULT;
		goto free_packet;
	}

	mutex_lock(&ring.lock);
	while (is_full()) {
		mutex_unlock(&ring.lock);
		err = -EAGAIN;
		if (file->f_flags & O_NONBLOCK)
			goto free_packet;
		err = wait_event_interruptible_exclusive(ring.not_full, !is_full());
		if (err)
			goto free_packet;
		mutex_lock(&ring.lock);
	}
	*place(ring.used) = packet;
	WRITE_ONCE(ring.used, ring.used + 1);
	ring.in++;
	mutex_unlock(&ring.lock);

	tell_readers();
	return n;

free_packet:
	kfree(packet);
	return err;
}

/* The oldest packet, which stays where it is, or NULL. The caller holds ring.reader. */
static struct packet *begin_read(void)
{
	struct packet *packet = NULL;

	mutex_lock(&ring.lock);
	if (ring.used)
		packet = *place(0);
	ring.busy = packet;
	mutex_unlock(&ring.lock);

	return packet;
}

static void end_read(bool taken)
{
	mutex_lock(&ring.lock);
	if (taken) {
		ring.head = (ring.head + 1) % ring.size;
		WRITE_ONCE(ring.used, ring.used - 1);
		ring.out++;
	}
	ring.busy = false;
	mutex_unlock(&ring.lock);
}

static ssize_t ring_read(struct file *file, char __user *to, size_t n, loff_t *off)
{
	struct packet *packet;
	ssize_t ret;

again:
	ret = mutex_lock_interruptible(&ring.reader);
	if (ret) {
		ret = -ERESTARTSYS;
		goto next_reader;
	}
	packet = begin_read();
	if (!packet) {
		mutex_unlock(&ring.reader);
		ret = -EAGAIN;
		if (file->f_flags & O_NONBLOCK)
			goto next_reader;
		ret = wait_event_interruptible_exclusive(ring.not_empty, !is_empty());
		if (ret)
			goto next_reader;
		goto again;
	}

	ret = packet->len;
	if (n < packet->len)
		ret = -EMSGSIZE;
	else if (copy_to_user(to, packet->bytes, packet->len))
		ret = -EFAULT;
	end_read(ret > 0);
	mutex_unlock(&ring.reader);
	if (ret > 0) {
		kfree(packet);
		wake_up_interruptible_poll(&ring.not_full, EPOLLOUT | EPOLLWRNORM);
		return ret;
	}

next_reader:
	/* Whatever woke this reader was meant for one that takes a packet. */
	if (!is_empty())
		tell_readers();
	return ret;
}

static __poll_t ring_poll(struct file *file, poll_table *table)
{
	poll_wait(file, &ring.not_empty, table);
	poll_wait(file, &ring.not_full, table);
	return (is_empty() ? 0 : EPOLLIN | EPOLLRDNORM) |
	       (is_full() ? 0 : EPOLLOUT | EPOLLWRNORM);
}

static bool within(unsigned int value, unsigned int least, unsigned int most)
{
	return value >= least && value <= most;
}

static bool bad_limits(unsigned int msgs, unsigned int size)
{
	return !within(msgs, 1, KMSGPIPE_MAX_MSGS_MAX) ||
	       !within(size, 1, KMSGPIPE_MSG_SIZE_MAX);
}

static struct kmsgpipe_stats stats_now(void)
{
	struct kmsgpipe_stats stats = {};

	mutex_lock(&ring.lock);
	stats.written = ring.in;
	stats.read = ring.out;
	stats.cleared = ring.cleared;
	stats.expired = ring.expired;
	stats.queued = ring.used;
	stats.max_msgs = ring.max_msgs;
	stats.msg_size = ring.msg_size;
	mutex_unlock(&ring.lock);

	return stats;
}

/*
 * Takes the oldest n packets out, but for the one that is being read. The caller holds
 * ring.lock and has made sure that there are so many.
 */
static void take(struct packet **into, unsigned int n)
{
	struct packet *kept = ring.busy ? *place(0) : NULL;
	unsigned int first = ring.busy, i;

	for (i = 0; i < n; i++)
		into[i] = *place(first + i);
	ring.head = (ring.head + n) % ring.size;
	WRITE_ONCE(ring.used, ring.used - n);
	if (kept)
		*place(0) = kept;
}

static int clear(void)
{
	struct packet *batch[32];
	unsigned int left, n, i;
	int total = 0;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;

	/* Only what is there now: writers may be faster than this loop. */
	mutex_lock(&ring.lock);
	left = ring.used - ring.busy;
	mutex_unlock(&ring.lock);
	do {
		mutex_lock(&ring.lock);
		n = min3(left, (unsigned int)ARRAY_SIZE(batch), ring.used - ring.busy);
		take(batch, n);
		ring.cleared += n;
		mutex_unlock(&ring.lock);
		for (i = 0; i < n; i++)
			kfree(batch[i]);
		total += n;
		left -= n;
	} while (n && left);
	wake_up_interruptible_all(&ring.not_full);
	return total;
}

/* The ring grows if it has to and never shrinks. The caller holds ring.settings. */
static int set_limits(unsigned int msgs, unsigned int size)
{
	struct packet **larger = NULL;
	unsigned int i;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (bad_limits(msgs, size))
		return -EINVAL;
	if (msgs > ring.size) {
		larger = kvcalloc(msgs, sizeof(*larger), GFP_KERNEL);
		if (!larger)
			return -ENOMEM;
	}

	mutex_lock(&ring.lock);
	if (larger) {
		for (i = 0; i < ring.used; i++)
			larger[i] = *place(i);
		swap(ring.slots, larger);
		ring.size = msgs;
		ring.head = 0;
	}
	WRITE_ONCE(ring.max_msgs, msgs);
	WRITE_ONCE(ring.msg_size, size);
	mutex_unlock(&ring.lock);

	kvfree(larger);
	wake_up_interruptible_all(&ring.not_full);
	return 0;
}

static long peek(struct kmsgpipe_peek __user *arg)
{
	struct kmsgpipe_peek want;
	struct packet *packet;
	u32 room;
	u8 *copy;
	long ret;

	if (copy_from_user(&want, arg, sizeof(want)))
		return -EFAULT;
	if (want.reserved)
		return -EINVAL;
	copy = kmalloc(KMSGPIPE_MSG_SIZE_MAX, GFP_KERNEL);
	if (!copy)
		return -ENOMEM;

	room = want.size;
	mutex_lock(&ring.lock);
	ret = -ENOENT;
	if (want.index < ring.used) {
		packet = *place(want.index);
		memcpy(copy, packet->bytes, packet->len);
		want.size = packet->len;
		ret = 0;
	}
	mutex_unlock(&ring.lock);

	if (!ret && want.size > room)
		ret = -EMSGSIZE;
	else if (!ret && copy_to_user(u64_to_user_ptr(want.buf), copy, want.size))
		ret = -EFAULT;
	if ((!ret || ret == -EMSGSIZE) && put_user(want.size, &arg->size))
		ret = -EFAULT;
	kfree(copy);
	return ret;
}

static long control(struct file *file, unsigned int cmd, void __user *arg)
{
	union {
		struct kmsgpipe_stats stats;
		struct kmsgpipe_limits limits;
	} u;
	long ret;

	switch (cmd) {
	case KMSGPIPE_GET_STATS:
		u.stats = stats_now();
		return copy_to_user(arg, &u.stats, sizeof(u.stats)) ? -EFAULT : 0;
	case KMSGPIPE_CLEAR_QUEUE:
		return clear();
	case KMSGPIPE_SET_LIMITS:
		if (!capable(CAP_SYS_ADMIN))
			return -EPERM;
		if (copy_from_user(&u.limits, arg, sizeof(u.limits)))
			return -EFAULT;
		if (u.limits.reserved[0] || u.limits.reserved[1])
			return -EINVAL;
		mutex_lock(&ring.settings);
		ret = set_limits(u.limits.max_msgs, u.limits.msg_size);
		mutex_unlock(&ring.settings);
		return ret;
	case KMSGPIPE_PEEK:
		return file->f_mode & FMODE_READ ? peek(arg) : -EBADF;
	}
	return -ENOTTY;
}

/* One line for each command, whatever comes of it. */
static long ring_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	long ret = control(file, cmd, (void __user *)arg);

	pr_info_ratelimited("command %u of type %#x gave %ld\n", _IOC_NR(cmd), _IOC_TYPE(cmd),
			    ret);
	return ret;
}

static int ring_open(struct inode *inode, struct file *file)
{
	pr_debug("opened by %d\n", current->pid);
	return stream_open(inode, file);
}

static const struct file_operations ring_fops = {
	.owner = THIS_MODULE,
	.open = ring_open,
	.read = ring_read,
	.write = ring_write,
	.poll = ring_poll,
	.unlocked_ioctl = ring_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice ring_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = KMSGPIPE_NAME "0",
	.fops = &ring_fops,
	.mode = 0666,
};

static int __init check_parameter(const char *name, unsigned int value, unsigned int least,
				  unsigned int most)
{
	if (within(value, least, most))
		return 0;
	pr_warn("%s must be %u...%u\n", name, least, most);
	return -EINVAL;
}

static int __init ring_init(void)
{
	int err;

	err = check_parameter("max_msgs", max_msgs, 1, KMSGPIPE_MAX_MSGS_MAX) ?:
	      check_parameter("msg_size", msg_size, 1, KMSGPIPE_MSG_SIZE_MAX);
	if (err)
		return err;

	mutex_init(&ring.reader);
	mutex_init(&ring.settings);
	mutex_init(&ring.lock);
	init_waitqueue_head(&ring.not_empty);
	init_waitqueue_head(&ring.not_full);
	ring.max_msgs = max_msgs;
	ring.msg_size = msg_size;
	ring.size = max_msgs;
	ring.slots = kvcalloc(ring.size, sizeof(*ring.slots), GFP_KERNEL);
	if (!ring.slots)
		return -ENOMEM;

	err = misc_register(&ring_misc);
	if (err) {
		kvfree(ring.slots);
		return err;
	}
	pr_info("%d slots\n", max_msgs);
	return 0;
}

static void __exit ring_exit(void)
{
	unsigned int i;

	misc_deregister(&ring_misc);
	for (i = 0; i < ring.used; i++)
		kfree(*place(i));
	kvfree(ring.slots);
}

module_init(ring_init);
module_exit(ring_exit);

MODULE_DESCRIPTION("kmsgpipe lab 4 with a ring");
MODULE_LICENSE("GPL");
