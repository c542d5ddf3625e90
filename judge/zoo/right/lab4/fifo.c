// SPDX-License-Identifier: GPL-2.0
/*
 * kmsgpipe, lab 4, another way: a kfifo of pointers for a list, and a spinlock for the mutex.
 *
 * The oldest note is taken out of the kfifo when the first reader asks for it, and stays in
 * desk.front until it has been copied: a kfifo takes nothing back at its front. The spinlock is
 * held for a few instructions only, never across a copy, an allocation or a kfree().
 */

#include <linux/capability.h>
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/kfifo.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "kmsgpipe.h"
#include "kmsgpipe_compat.h"

static unsigned long max_msgs = KMSGPIPE_MAX_MSGS;
module_param(max_msgs, ulong, 0444);
MODULE_PARM_DESC(max_msgs, "notes on the desk at a time");

static unsigned long msg_size = KMSGPIPE_MSG_SIZE;
module_param(msg_size, ulong, 0444);
MODULE_PARM_DESC(msg_size, "bytes in the longest note");

struct note {
	u16 len;
	u8 bytes[];
};

struct note_fifo {
	DECLARE_KFIFO_PTR(notes, struct note *);
};

static struct {
	struct cdev cdev;
	struct device *dev;
	dev_t number;
	struct mutex reader;	/* held by who copies the oldest note out */
	struct mutex settings;	/* one change of the limits at a time */
	spinlock_t lock;	/* guards what follows */
	struct note *front;	/* older than all in the fifo */
	struct note_fifo fifo;
	unsigned int used;	/* with the one in front */
	unsigned int max_msgs;
	unsigned int msg_size;
	bool busy;		/* the note in front is being read */
	u64 in, out, cleared, expired;
	wait_queue_head_t not_empty, not_full;
} desk;

static bool is_full(void)
{
	return READ_ONCE(desk.used) >= READ_ONCE(desk.max_msgs);
}

static bool is_empty(void)
{
	return READ_ONCE(desk.used) == 0;
}

static void tell_readers(void)
{
	wake_up_interruptible_poll(&desk.not_empty, EPOLLIN | EPOLLRDNORM);
}

static ssize_t desk_write(struct file *file, const char __user *from, size_t n, loff_t *off)
{
	struct note *note;
	int err;

	if (n == 0)
		return 0;
	if (n > READ_ONCE(desk.msg_size))
		return -EMSGSIZE;

	note = kmalloc(sizeof(*note) + n, GFP_KERNEL);
	if (!note)
		return -ENOMEM;
	note->len = n;
	if (copy_from_user(note->bytes, from, n)) {
		err = -EFAULT;
		goto free_note;
	}

	spin_lock(&desk.lock);
	while (is_full()) {
		spin_unlock(&desk.lock);
		err = -EAGAIN;
		if (file->f_flags & O_NONBLOCK)
			goto free_note;
		err = wait_event_interruptible_exclusive(desk.not_full, !is_full());
		if (err)
			goto free_note;
		spin_lock(&desk.lock);
	}
	/* It has room for max_msgs and nobody else adds: this cannot fail. */
	kfifo_put(&desk.fifo.notes, note);
	WRITE_ONCE(desk.used, desk.used + 1);
	desk.in++;
	spin_unlock(&desk.lock);

	tell_readers();
	return n;

free_note:
	kfree(note);
	return err;
}

/* The oldest note, which stays in front, or NULL. The caller holds desk.reader. */
static struct note *begin_read(void)
{
	struct note *note;

	spin_lock(&desk.lock);
	if (!desk.front && !kfifo_get(&desk.fifo.notes, &desk.front))
		desk.front = NULL;
	note = desk.front;
	desk.busy = note;
	spin_unlock(&desk.lock);

	return note;
}

static void end_read(bool taken)
{
	spin_lock(&desk.lock);
	if (taken) {
		desk.front = NULL;
		WRITE_ONCE(desk.used, desk.used - 1);
		desk.out++;
	}
	desk.busy = false;
	spin_unlock(&desk.lock);
}

static ssize_t desk_read(struct file *file, char __user *to, size_t n, loff_t *off)
{
	struct note *note;
	ssize_t ret;

again:
	ret = mutex_lock_interruptible(&desk.reader);
	if (ret) {
		ret = -ERESTARTSYS;
		goto next_reader;
	}
	note = begin_read();
	if (!note) {
		mutex_unlock(&desk.reader);
		ret = -EAGAIN;
		if (file->f_flags & O_NONBLOCK)
			goto next_reader;
		ret = wait_event_interruptible_exclusive(desk.not_empty, !is_empty());
		if (ret)
			goto next_reader;
		goto again;
	}

	ret = note->len;
	if (n < note->len)
		ret = -EMSGSIZE;
	else if (copy_to_user(to, note->bytes, note->len))
		ret = -EFAULT;
	end_read(ret > 0);
	mutex_unlock(&desk.reader);
	if (ret > 0) {
		kfree(note);
		wake_up_interruptible_poll(&desk.not_full, EPOLLOUT | EPOLLWRNORM);
		return ret;
	}

next_reader:
	/* Whatever woke this reader was meant for one that takes a note. */
	if (!is_empty())
		tell_readers();
	return ret;
}

static __poll_t desk_poll(struct file *file, poll_table *table)
{
	poll_wait(file, &desk.not_empty, table);
	poll_wait(file, &desk.not_full, table);
	return (is_empty() ? 0 : EPOLLIN | EPOLLRDNORM) |
	       (is_full() ? 0 : EPOLLOUT | EPOLLWRNORM);
}

static bool within(unsigned long value, unsigned int least, unsigned int most)
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

	spin_lock(&desk.lock);
	stats.written = desk.in;
	stats.read = desk.out;
	stats.cleared = desk.cleared;
	stats.expired = desk.expired;
	stats.queued = desk.used;
	stats.max_msgs = desk.max_msgs;
	stats.msg_size = desk.msg_size;
	spin_unlock(&desk.lock);

	return stats;
}

/* The oldest note, no longer on the desk, but not one that is being read; or NULL. */
static struct note *take(void)
{
	struct note *note = NULL;

	if (desk.front && !desk.busy)
		swap(desk.front, note);
	else if (!kfifo_get(&desk.fifo.notes, &note))
		return NULL;
	WRITE_ONCE(desk.used, desk.used - 1);
	return note;
}

static int clear(void)
{
	unsigned int left, total = 0;
	struct note *note;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;

	/* Only what is there now: writers may be faster than this loop. */
	for (left = READ_ONCE(desk.used); left; left--) {
		spin_lock(&desk.lock);
		note = take();
		desk.cleared += !!note;
		spin_unlock(&desk.lock);
		if (!note)
			break;
		kfree(note);
		total++;
	}
	wake_up_interruptible_all(&desk.not_full);
	return total;
}

/* The kfifo grows if it has to and never shrinks. The caller holds desk.settings. */
static int set_limits(unsigned int msgs, unsigned int size)
{
	struct note_fifo larger = {};
	struct note *note;
	int err;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (bad_limits(msgs, size))
		return -EINVAL;
	if (msgs > kfifo_size(&desk.fifo.notes)) {
		err = kfifo_alloc(&larger.notes, msgs, GFP_KERNEL);
		if (err)
			return err;
	}

	spin_lock(&desk.lock);
	if (kfifo_initialized(&larger.notes)) {
		while (kfifo_get(&desk.fifo.notes, &note))
			kfifo_put(&larger.notes, note);
		swap(desk.fifo, larger);
	}
	WRITE_ONCE(desk.max_msgs, msgs);
	WRITE_ONCE(desk.msg_size, size);
	spin_unlock(&desk.lock);

	kfifo_free(&larger.notes);
	wake_up_interruptible_all(&desk.not_full);
	return 0;
}

/* The note before which index others are, or NULL. The caller holds desk.lock. */
static struct note *nth(unsigned int index, struct note **scratch)
{
	if (desk.front && !index)
		return desk.front;
	if (!desk.front)
		index++;
	if (kfifo_out_peek(&desk.fifo.notes, scratch, index) < index)
		return NULL;
	return scratch[index - 1];
}

static long peek(struct kmsgpipe_peek __user *arg)
{
	struct note *note, **scratch;
	struct kmsgpipe_peek want;
	long ret = -ENOMEM;
	u32 room;
	u8 *copy;

	if (copy_from_user(&want, arg, sizeof(want)))
		return -EFAULT;
	if (want.reserved)
		return -EINVAL;
	if (want.index >= KMSGPIPE_MAX_MSGS_MAX)
		return -ENOENT;
	/* A kfifo can be looked into from its front only. */
	scratch = kvmalloc_array(want.index + 1, sizeof(*scratch), GFP_KERNEL);
	copy = kmalloc(KMSGPIPE_MSG_SIZE_MAX, GFP_KERNEL);
	if (!scratch || !copy)
		goto free_both;

	room = want.size;
	ret = -ENOENT;
	spin_lock(&desk.lock);
	note = nth(want.index, scratch);
	if (note) {
		memcpy(copy, note->bytes, note->len);
		want.size = note->len;
		ret = 0;
	}
	spin_unlock(&desk.lock);

	if (!ret && want.size > room)
		ret = -EMSGSIZE;
	else if (!ret && copy_to_user(u64_to_user_ptr(want.buf), copy, want.size))
		ret = -EFAULT;
	if ((!ret || ret == -EMSGSIZE) && put_user(want.size, &arg->size))
		ret = -EFAULT;
free_both:
	kfree(copy);
	kvfree(scratch);
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
		mutex_lock(&desk.settings);
		ret = set_limits(u.limits.max_msgs, u.limits.msg_size);
		mutex_unlock(&desk.settings);
		return ret;
	case KMSGPIPE_PEEK:
		return file->f_mode & FMODE_READ ? peek(arg) : -EBADF;
	}
	return -ENOTTY;
}

/* One line for each command, whatever comes of it. */
static long desk_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	long ret = control(file, cmd, (void __user *)arg);

	pr_info_ratelimited("command %u of type %#x gave %ld\n", _IOC_NR(cmd), _IOC_TYPE(cmd),
			    ret);
	return ret;
}

static int desk_open(struct inode *inode, struct file *file)
{
	pr_debug("opened by %d\n", current->pid);
	return stream_open(inode, file);
}

static const struct file_operations desk_fops = {
	.owner = THIS_MODULE,
	.open = desk_open,
	.read = desk_read,
	.write = desk_write,
	.poll = desk_poll,
	.unlocked_ioctl = desk_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static char *desk_devnode(const struct device *dev, umode_t *mode)
{
	if (mode)
		*mode = 0666;
	return NULL;
}

static struct class desk_class = {
	.name = KMSGPIPE_NAME,
	.devnode = KMSGPIPE_DEVNODE(desk_devnode),
};

static int add_device(void)
{
	int err;

	err = alloc_chrdev_region(&desk.number, 0, 1, KMSGPIPE_NAME);
	if (err)
		return err;
	err = class_register(&desk_class);
	if (err)
		goto give_number_back;
	cdev_init(&desk.cdev, &desk_fops);
	desk.cdev.owner = THIS_MODULE;
	err = cdev_add(&desk.cdev, desk.number, 1);
	if (err)
		goto unregister_class;
	desk.dev = device_create(&desk_class, NULL, desk.number, NULL, KMSGPIPE_NAME "0");
	if (!IS_ERR(desk.dev))
		return 0;

	err = PTR_ERR(desk.dev);
	cdev_del(&desk.cdev);
unregister_class:
	class_unregister(&desk_class);
give_number_back:
	unregister_chrdev_region(desk.number, 1);
	return err;
}

static void remove_device(void)
{
	device_destroy(&desk_class, desk.number);
	cdev_del(&desk.cdev);
	class_unregister(&desk_class);
	unregister_chrdev_region(desk.number, 1);
}

static int __init check_parameter(const char *name, unsigned long value, unsigned int least,
				  unsigned int most)
{
	if (within(value, least, most))
		return 0;
	pr_warn("%s must be %u...%u\n", name, least, most);
	return -EINVAL;
}

static int __init desk_init(void)
{
	int err;

	err = check_parameter("max_msgs", max_msgs, 1, KMSGPIPE_MAX_MSGS_MAX) ?:
	      check_parameter("msg_size", msg_size, 1, KMSGPIPE_MSG_SIZE_MAX);
	if (err)
		return err;

	mutex_init(&desk.reader);
	mutex_init(&desk.settings);
	spin_lock_init(&desk.lock);
	init_waitqueue_head(&desk.not_empty);
	init_waitqueue_head(&desk.not_full);
	desk.max_msgs = max_msgs;
	desk.msg_size = msg_size;
	/* A kfifo of less than 2 there is none. */
	err = kfifo_alloc(&desk.fifo.notes, max(desk.max_msgs, 2U), GFP_KERNEL);
	if (err)
		return err;
	err = add_device();
	if (err)
		goto free_fifo;

	pr_info("a desk for %lu notes\n", max_msgs);
	return 0;

free_fifo:
	kfifo_free(&desk.fifo.notes);
	return err;
}

static void __exit desk_exit(void)
{
	struct note *note;

	remove_device();
	kfree(desk.front);
	while (kfifo_get(&desk.fifo.notes, &note))
		kfree(note);
	kfifo_free(&desk.fifo.notes);
}

module_init(desk_init);
module_exit(desk_exit);

MODULE_DESCRIPTION("kmsgpipe lab 4 with a kfifo");
MODULE_LICENSE("GPL");
