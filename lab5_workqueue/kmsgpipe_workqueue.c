// SPDX-License-Identifier: GPL-2.0
/*
 * kmsgpipe, lab 5: messages that nobody reads go away.
 *
 * A write() appends one message, a read() takes the oldest one: first in,
 * first out. A reader sleeps while there is no message, a writer while there is
 * no room. ioctl() tells how things stand, looks at messages, drops them, and changes
 * the limits. A message that waits too long for a reader expires: a timer goes off at
 * every interval, the work that it queues drops what is too old.
 *
 * Locking: kmsgpipe.lock protects all that changes: the queue, the counters and the
 * limits, so that a snapshot of them is of one moment. It is never held across a copy
 * from or to user space: such a copy can fault, and a page fault may have to
 * wait for a disk while everybody else waits for the lock. The timer never takes it:
 * a timer must not sleep, and taking a mutex may. kmsgpipe.read_lock lets
 * one reader at a time copy the first message out; it is taken before lock. That
 * message is marked as reading: whoever drops messages leaves it to its reader.
 *
 * kmsgpipe.control_lock lets one process at a time stop the timer and start it again. It
 * is taken before lock; the work takes lock, so whoever waits for the work must not hold
 * that.
 *
 * A reader with O_NONBLOCK may wait for read_lock too, but never for a message.
 *
 * Sleeping: no lock is held. Every sleeper is exclusive, so that one message wakes
 * one reader and one freed slot wakes one writer. A reader that was woken and then
 * leaves the message behind wakes the next one; otherwise that one would sleep on
 * beside a message. Wake-ups come after the change that they announce, and say
 * what it is: poll() waits on both queues, and one who waits for room must not take
 * the wake-up of a reader (EPOLLEXCLUSIVE).
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "kmsgpipe.h"
#include "kmsgpipe_compat.h"

static unsigned int max_msgs = KMSGPIPE_MAX_MSGS;
module_param(max_msgs, uint, 0444);
MODULE_PARM_DESC(max_msgs, "at first the most messages queued at a time, 1 to "
		 __stringify(KMSGPIPE_MAX_MSGS_MAX));

static unsigned int msg_size = KMSGPIPE_MSG_SIZE;
module_param(msg_size, uint, 0444);
MODULE_PARM_DESC(msg_size, "at first the longest message in bytes, 1 to "
		 __stringify(KMSGPIPE_MSG_SIZE_MAX));

static unsigned int ttl_ms = KMSGPIPE_TTL_MS;
module_param(ttl_ms, uint, 0444);
MODULE_PARM_DESC(ttl_ms, "at first the longest wait for a reader in ms, 0 (for ever) to "
		 __stringify(KMSGPIPE_CLEANUP_MS_MAX));

static unsigned int cleanup_interval_ms = KMSGPIPE_INTERVAL_MS;
module_param(cleanup_interval_ms, uint, 0444);
MODULE_PARM_DESC(cleanup_interval_ms, "at first the time between cleanups in ms, 0 (never) to "
		 __stringify(KMSGPIPE_CLEANUP_MS_MAX));

/* Messages that expire under one hold of the lock: a reader waits no longer than for these. */
#define KMSGPIPE_BATCH 64

/**
 * struct kmsg - one message
 * @node: its place in kmsgpipe.msgs
 * @queued_at: when it was queued, in monotonic time: no clock change makes it old
 * @len: length of @data in bytes
 * @data: the bytes that were written
 */
struct kmsg {
	struct list_head node;
	ktime_t queued_at;
	size_t len;
	char data[];
};

/**
 * struct kmsgpipe - the device
 * @cdev: connects the device number to the file operations
 * @devt: the device number
 * @read_lock: held by the one reader that copies the first message out
 * @control_lock: held while the timer is set anew
 * @lock: protects what follows, but for timer, work and wait queues
 * @msgs: the messages, oldest first
 * @depth: number of messages in @msgs; sleepers look at it without @lock
 * @reading: the first message while a reader copies it, else NULL
 * @max_msgs: most messages queued at a time; sleepers look at it without @lock
 * @msg_size: longest message in bytes; writers look at it without @lock
 * @interval_ms: time between two cleanups, 0: none; the timer looks at it without @lock
 * @ttl_ms: how long a message may wait for a reader, 0: for ever
 * @written: messages queued so far
 * @read: messages taken by readers so far
 * @cleared: messages dropped by KMSGPIPE_CLEAR_QUEUE so far
 * @expired: messages dropped because they waited too long so far
 * @flush_timer: goes off at every interval and queues @cleanup_work
 * @cleanup_work: drops what has expired; may sleep, as a timer may not
 * @readers: sleep here until there is a message
 * @writers: sleep here until there is room
 */
struct kmsgpipe {
	struct cdev cdev;
	dev_t devt;
	struct mutex read_lock;	/* taken before lock */
	struct mutex control_lock;	/* taken before lock */
	struct mutex lock;	/* never held across a copy from or to user space */
	struct list_head msgs;
	unsigned int depth;
	struct kmsg *reading;
	unsigned int max_msgs;
	unsigned int msg_size;
	unsigned int interval_ms;
	unsigned int ttl_ms;
	u64 written;
	u64 read;
	u64 cleared;
	u64 expired;
	struct timer_list flush_timer;
	struct work_struct cleanup_work;
	wait_queue_head_t readers;
	wait_queue_head_t writers;
};

static struct kmsgpipe kmsgpipe0;

/* Copies a message in from user space. May sleep. */
static struct kmsg *kmsg_from_user(const char __user *buf, size_t len)
{
	struct kmsg *msg;

	/* ACCOUNT charges the writer's cgroup, so that its limit holds here too. */
	msg = kmalloc(struct_size(msg, data, len), GFP_KERNEL_ACCOUNT);
	if (!msg)
		return ERR_PTR(-ENOMEM);

	if (copy_from_user(msg->data, buf, len)) {
		kfree(msg);
		return ERR_PTR(-EFAULT);
	}

	msg->len = len;
	return msg;
}

/*
 * What sleepers wait for. They ask without the lock, which could sleep itself, and
 * so get a hint only: another task may be faster. Who needs to be sure asks again
 * under the lock.
 */
static bool kmsgpipe_has_message(struct kmsgpipe *pipe)
{
	return READ_ONCE(pipe->depth) > 0;
}

static bool kmsgpipe_has_room(struct kmsgpipe *pipe)
{
	return READ_ONCE(pipe->depth) < READ_ONCE(pipe->max_msgs);
}

/*
 * Waits for room unless @nonblock. On success the queue owns @msg, on failure the
 * caller still does.
 */
static int kmsgpipe_enqueue(struct kmsgpipe *pipe, struct kmsg *msg, bool nonblock)
{
	mutex_lock(&pipe->lock);
	while (!kmsgpipe_has_room(pipe)) {
		mutex_unlock(&pipe->lock);
		if (nonblock)
			return -EAGAIN;
		if (wait_event_interruptible_exclusive(pipe->writers, kmsgpipe_has_room(pipe)))
			return -ERESTARTSYS;
		mutex_lock(&pipe->lock);
	}
	/* Under the lock: the queue is in the order of these times, too. */
	msg->queued_at = ktime_get();
	list_add_tail(&msg->node, &pipe->msgs);
	WRITE_ONCE(pipe->depth, pipe->depth + 1);
	pipe->written++;
	mutex_unlock(&pipe->lock);

	/* There is a message now: whoever waits for one can go on. */
	wake_up_interruptible_poll(&pipe->readers, EPOLLIN | EPOLLRDNORM);
	return 0;
}

/*
 * The first message, or NULL. It stays in the queue. The caller holds
 * pipe->read_lock: nobody else can take the message away meanwhile. Ends with
 * kmsgpipe_dequeue() or kmsgpipe_put_back().
 */
static struct kmsg *kmsgpipe_first(struct kmsgpipe *pipe)
{
	struct kmsg *msg;

	mutex_lock(&pipe->lock);
	msg = list_first_entry_or_null(&pipe->msgs, struct kmsg, node);
	pipe->reading = msg;
	mutex_unlock(&pipe->lock);

	return msg;
}

/* The first message was not taken after all. */
static void kmsgpipe_put_back(struct kmsgpipe *pipe)
{
	mutex_lock(&pipe->lock);
	pipe->reading = NULL;
	mutex_unlock(&pipe->lock);
}

/* Afterwards the caller owns @msg. */
static void kmsgpipe_dequeue(struct kmsgpipe *pipe, struct kmsg *msg)
{
	mutex_lock(&pipe->lock);
	list_del(&msg->node);
	WRITE_ONCE(pipe->depth, pipe->depth - 1);
	pipe->reading = NULL;
	pipe->read++;
	mutex_unlock(&pipe->lock);

	/* There is room now: whoever waits for it can go on. */
	wake_up_interruptible_poll(&pipe->writers, EPOLLOUT | EPOLLWRNORM);
}

/*
 * Waits for a message unless @nonblock. On success the caller holds pipe->read_lock
 * and the message stays in the queue.
 */
static struct kmsg *kmsgpipe_wait_first(struct kmsgpipe *pipe, bool nonblock)
{
	struct kmsg *msg;

	for (;;) {
		/* Another reader's copy may take long: let a signal end the wait for it. */
		if (mutex_lock_interruptible(&pipe->read_lock))
			return ERR_PTR(-ERESTARTSYS);

		msg = kmsgpipe_first(pipe);
		if (msg)
			return msg;

		/* Asleep with the lock held, we would shut out O_NONBLOCK readers. */
		mutex_unlock(&pipe->read_lock);
		if (nonblock)
			return ERR_PTR(-EAGAIN);
		if (wait_event_interruptible_exclusive(pipe->readers, kmsgpipe_has_message(pipe)))
			return ERR_PTR(-ERESTARTSYS);
	}
}

static int kmsgpipe_open(struct inode *inode, struct file *file)
{
	file->private_data = container_of(inode->i_cdev, struct kmsgpipe, cdev);
	pr_info_ratelimited("open\n");
	/* Messages have no position: lseek() and pread() get -ESPIPE. */
	return stream_open(inode, file);
}

static int kmsgpipe_release(struct inode *inode, struct file *file)
{
	pr_info_ratelimited("release\n");
	return 0;
}

static ssize_t kmsgpipe_read(struct file *file, char __user *buf, size_t count, loff_t *ppos)
{
	struct kmsgpipe *pipe = file->private_data;
	struct kmsg *msg;
	ssize_t ret;

	msg = kmsgpipe_wait_first(pipe, file->f_flags & O_NONBLOCK);
	if (IS_ERR(msg)) {
		ret = PTR_ERR(msg);
		goto pass_on;
	}
	if (count < msg->len) {
		ret = -EMSGSIZE;
		goto put_back;
	}
	if (copy_to_user(buf, msg->data, msg->len)) {
		ret = -EFAULT;
		goto put_back;
	}

	/* Only now, with the copy done, can nothing go wrong any more: take it. */
	kmsgpipe_dequeue(pipe, msg);
	mutex_unlock(&pipe->read_lock);

	ret = msg->len;
	kfree(msg);
	pr_info_ratelimited("read %zd bytes\n", ret);
	return ret;

put_back:
	kmsgpipe_put_back(pipe);
	mutex_unlock(&pipe->read_lock);
pass_on:
	/* The wake-up that brought us here was for one reader: we leave, pass it on. */
	if (kmsgpipe_has_message(pipe))
		wake_up_interruptible_poll(&pipe->readers, EPOLLIN | EPOLLRDNORM);
	return ret;
}

static ssize_t kmsgpipe_write(struct file *file, const char __user *buf, size_t count,
			      loff_t *ppos)
{
	struct kmsgpipe *pipe = file->private_data;
	struct kmsg *msg;
	int ret;

	if (!count)
		return 0;
	/* Check before copying: count comes from user space and may be anything. */
	if (count > READ_ONCE(pipe->msg_size))
		return -EMSGSIZE;

	/* Build the whole message first: the queue never sees half of one. */
	msg = kmsg_from_user(buf, count);
	if (IS_ERR(msg))
		return PTR_ERR(msg);

	ret = kmsgpipe_enqueue(pipe, msg, file->f_flags & O_NONBLOCK);
	if (ret) {
		kfree(msg);
		return ret;
	}

	/* The length only: a user could forge log lines with the text itself. */
	pr_info_ratelimited("write %zu bytes\n", count);
	return count;
}

static __poll_t kmsgpipe_poll(struct file *file, poll_table *wait)
{
	struct kmsgpipe *pipe = file->private_data;
	__poll_t mask = 0;

	/* First enlist, then look: the other way round a change in between is missed. */
	poll_wait(file, &pipe->readers, wait);
	poll_wait(file, &pipe->writers, wait);

	if (kmsgpipe_has_message(pipe))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (kmsgpipe_has_room(pipe))
		mask |= EPOLLOUT | EPOLLWRNORM;
	return mask;
}

/* Without these bounds one careless number lets any writer take all memory. */
static int kmsgpipe_check_limits(unsigned int max_msgs, unsigned int msg_size)
{
	if (max_msgs < 1 || max_msgs > KMSGPIPE_MAX_MSGS_MAX) {
		pr_err("max_msgs=%u is out of range, 1 to %u\n", max_msgs, KMSGPIPE_MAX_MSGS_MAX);
		return -EINVAL;
	}
	if (msg_size < 1 || msg_size > KMSGPIPE_MSG_SIZE_MAX) {
		pr_err("msg_size=%u is out of range, 1 to %u\n", msg_size, KMSGPIPE_MSG_SIZE_MAX);
		return -EINVAL;
	}
	return 0;
}

static int kmsgpipe_check_cleanup(unsigned int interval_ms, unsigned int ttl_ms)
{
	if (interval_ms > KMSGPIPE_CLEANUP_MS_MAX) {
		pr_err("cleanup_interval_ms=%u is out of range, 0 to %u\n", interval_ms,
		       KMSGPIPE_CLEANUP_MS_MAX);
		return -EINVAL;
	}
	if (ttl_ms > KMSGPIPE_CLEANUP_MS_MAX) {
		pr_err("ttl_ms=%u is out of range, 0 to %u\n", ttl_ms, KMSGPIPE_CLEANUP_MS_MAX);
		return -EINVAL;
	}
	return 0;
}

/* One line in the log for a command that is refused. Anyone can cause it: limited in rate. */
static int kmsgpipe_refuse(const char *what, const char *why, int error)
{
	pr_info_ratelimited("%s: refused, %s\n", what, why);
	return error;
}

/*
 * Asks for the administrator of the whole machine. Root inside of a user namespace is
 * not: anybody can become that.
 */
static int kmsgpipe_check_admin(const char *what)
{
	if (!capable(CAP_SYS_ADMIN))
		return kmsgpipe_refuse(what, "needs CAP_SYS_ADMIN", -EPERM);
	return 0;
}

static void kmsgpipe_get_stats(struct kmsgpipe *pipe, struct kmsgpipe_stats *stats)
{
	mutex_lock(&pipe->lock);
	*stats = (struct kmsgpipe_stats) {
		.written = pipe->written,
		.read = pipe->read,
		.cleared = pipe->cleared,
		.expired = pipe->expired,
		.queued = pipe->depth,
		.max_msgs = pipe->max_msgs,
		.msg_size = pipe->msg_size,
	};
	mutex_unlock(&pipe->lock);
	pr_info_ratelimited("get stats\n");
}

/* Drops all messages but the one that is being read; returns how many. */
static int kmsgpipe_clear_queue(struct kmsgpipe *pipe)
{
	struct kmsg *msg, *next;
	unsigned int count;
	LIST_HEAD(dropped);
	int ret;

	ret = kmsgpipe_check_admin("clear queue");
	if (ret)
		return ret;

	mutex_lock(&pipe->lock);
	count = pipe->depth;
	list_splice_init(&pipe->msgs, &dropped);
	if (pipe->reading) {
		list_move(&pipe->reading->node, &pipe->msgs);
		count--;
	}
	WRITE_ONCE(pipe->depth, pipe->depth - count);
	pipe->cleared += count;
	mutex_unlock(&pipe->lock);

	/* Room for many: all writers may look; those that are too late sleep on. */
	wake_up_interruptible_all(&pipe->writers);
	/* Freeing takes its time: nobody has to wait for that. */
	list_for_each_entry_safe(msg, next, &dropped, node)
		kfree(msg);
	pr_info("clear queue: %u messages dropped\n", count);
	return count;
}

static int kmsgpipe_set_limits(struct kmsgpipe *pipe, unsigned int max_msgs,
			       unsigned int msg_size)
{
	int ret;

	ret = kmsgpipe_check_admin("set limits");
	if (ret)
		return ret;
	ret = kmsgpipe_check_limits(max_msgs, msg_size);
	if (ret)
		return ret;

	mutex_lock(&pipe->lock);
	WRITE_ONCE(pipe->max_msgs, max_msgs);
	WRITE_ONCE(pipe->msg_size, msg_size);
	mutex_unlock(&pipe->lock);

	/* There may be more room than before. */
	wake_up_interruptible_all(&pipe->writers);
	pr_info("set limits: max_msgs=%u msg_size=%u\n", max_msgs, msg_size);
	return 0;
}

/* Moves up to KMSGPIPE_BATCH messages that have expired to @expired; returns how many. */
static unsigned int kmsgpipe_take_expired(struct kmsgpipe *pipe, struct list_head *expired)
{
	struct kmsg *msg, *next;
	unsigned int count = 0;
	ktime_t newest;

	mutex_lock(&pipe->lock);
	newest = ktime_sub_ms(ktime_get(), pipe->ttl_ms);
	list_for_each_entry_safe(msg, next, &pipe->msgs, node) {
		/* Those that follow are fresher still. */
		if (!pipe->ttl_ms || ktime_after(msg->queued_at, newest))
			break;
		if (msg == pipe->reading)
			continue;
		list_move_tail(&msg->node, expired);
		if (++count == KMSGPIPE_BATCH)
			break;
	}
	WRITE_ONCE(pipe->depth, pipe->depth - count);
	pipe->expired += count;
	mutex_unlock(&pipe->lock);

	return count;
}

/* Runs in a kernel thread of the workqueue, and may sleep. */
static void kmsgpipe_cleanup(struct work_struct *work)
{
	struct kmsgpipe *pipe = container_of(work, struct kmsgpipe, cleanup_work);
	unsigned int count, total = 0;
	struct kmsg *msg, *next;

	do {
		LIST_HEAD(expired);

		count = kmsgpipe_take_expired(pipe, &expired);
		/* Room for many: all writers may look; those that are too late sleep on. */
		if (count)
			wake_up_interruptible_all(&pipe->writers);
		list_for_each_entry_safe(msg, next, &expired, node)
			kfree(msg);
		total += count;
		cond_resched();
	} while (count == KMSGPIPE_BATCH);

	if (total)
		pr_info_ratelimited("cleanup: %u messages expired\n", total);
}

static void kmsgpipe_start_timer(struct kmsgpipe *pipe)
{
	unsigned int interval_ms = READ_ONCE(pipe->interval_ms);

	if (interval_ms)
		mod_timer(&pipe->flush_timer, jiffies + msecs_to_jiffies(interval_ms));
}

/* Runs in an interrupt, where nothing may sleep: leaves the work to a kernel thread. */
static void kmsgpipe_flush(struct timer_list *timer)
{
	struct kmsgpipe *pipe = container_of(timer, struct kmsgpipe, flush_timer);

	/* If the last one has not even begun yet, it does for both. */
	schedule_work(&pipe->cleanup_work);
	kmsgpipe_start_timer(pipe);
}

static void kmsgpipe_get_cleanup(struct kmsgpipe *pipe, struct kmsgpipe_cleanup *cleanup)
{
	mutex_lock(&pipe->lock);
	*cleanup = (struct kmsgpipe_cleanup) {
		.interval_ms = pipe->interval_ms,
		.ttl_ms = pipe->ttl_ms,
	};
	mutex_unlock(&pipe->lock);
	pr_info_ratelimited("get cleanup\n");
}

/* The caller holds pipe->control_lock. */
static int kmsgpipe_set_cleanup(struct kmsgpipe *pipe, unsigned int interval_ms,
				unsigned int ttl_ms)
{
	int ret;

	ret = kmsgpipe_check_admin("set cleanup");
	if (ret)
		return ret;
	ret = kmsgpipe_check_cleanup(interval_ms, ttl_ms);
	if (ret)
		return ret;

	mutex_lock(&pipe->lock);
	WRITE_ONCE(pipe->interval_ms, interval_ms);
	pipe->ttl_ms = ttl_ms;
	mutex_unlock(&pipe->lock);

	/*
	 * The timer may be going off right now, on another CPU, and about to start itself
	 * with the old interval; and work that it has queued may not have begun. So wait
	 * until both are through. Without pipe->lock: the work waits for that.
	 */
	timer_delete_sync(&pipe->flush_timer);
	cancel_work_sync(&pipe->cleanup_work);
	kmsgpipe_start_timer(pipe);

	pr_info("set cleanup: cleanup_interval_ms=%u ttl_ms=%u\n", interval_ms, ttl_ms);
	return 0;
}

/*
 * Copies message number @index to @data, which has room for the longest one; returns
 * its length. From kernel to kernel a copy cannot fault: the lock may be held.
 */
static int kmsgpipe_copy_nth(struct kmsgpipe *pipe, unsigned int index, void *data)
{
	struct kmsg *msg;
	int ret = -ENOENT;

	mutex_lock(&pipe->lock);
	list_for_each_entry(msg, &pipe->msgs, node) {
		if (index--)
			continue;
		memcpy(data, msg->data, msg->len);
		ret = msg->len;
		break;
	}
	mutex_unlock(&pipe->lock);

	return ret;
}

/* Copies a message to user space; sets peek->size to its length, also if that is too long. */
static int kmsgpipe_peek(struct kmsgpipe *pipe, struct kmsgpipe_peek *peek)
{
	u32 room = peek->size;
	void *data;
	int ret;

	/* Not msg_size: a message may be older than that limit, and longer. */
	data = kmalloc(KMSGPIPE_MSG_SIZE_MAX, GFP_KERNEL);
	if (!data)
		return -ENOMEM;

	ret = kmsgpipe_copy_nth(pipe, peek->index, data);
	if (ret < 0)
		goto free_data;

	peek->size = ret;
	ret = 0;
	if (peek->size > room)
		ret = -EMSGSIZE;
	else if (copy_to_user(u64_to_user_ptr(peek->buf), data, peek->size))
		ret = -EFAULT;

free_data:
	kfree(data);
	return ret;
}

static int kmsgpipe_ioctl_get_stats(struct kmsgpipe *pipe, void __user *arg)
{
	struct kmsgpipe_stats stats;

	kmsgpipe_get_stats(pipe, &stats);
	return copy_to_user(arg, &stats, sizeof(stats)) ? -EFAULT : 0;
}

static int kmsgpipe_ioctl_set_limits(struct kmsgpipe *pipe, void __user *arg)
{
	struct kmsgpipe_limits limits;

	if (copy_from_user(&limits, arg, sizeof(limits)))
		return kmsgpipe_refuse("set limits", "bad address", -EFAULT);
	/* One day they may mean something: who sets them today would be surprised then. */
	if (limits.reserved[0] || limits.reserved[1])
		return kmsgpipe_refuse("set limits", "reserved fields are not 0", -EINVAL);

	return kmsgpipe_set_limits(pipe, limits.max_msgs, limits.msg_size);
}

static int kmsgpipe_ioctl_get_cleanup(struct kmsgpipe *pipe, void __user *arg)
{
	struct kmsgpipe_cleanup cleanup;

	kmsgpipe_get_cleanup(pipe, &cleanup);
	return copy_to_user(arg, &cleanup, sizeof(cleanup)) ? -EFAULT : 0;
}

static int kmsgpipe_ioctl_set_cleanup(struct kmsgpipe *pipe, void __user *arg)
{
	struct kmsgpipe_cleanup cleanup;
	int ret;

	if (copy_from_user(&cleanup, arg, sizeof(cleanup)))
		return kmsgpipe_refuse("set cleanup", "bad address", -EFAULT);
	if (cleanup.reserved[0] || cleanup.reserved[1])
		return kmsgpipe_refuse("set cleanup", "reserved fields are not 0", -EINVAL);

	mutex_lock(&pipe->control_lock);
	ret = kmsgpipe_set_cleanup(pipe, cleanup.interval_ms, cleanup.ttl_ms);
	mutex_unlock(&pipe->control_lock);

	return ret;
}

static int kmsgpipe_ioctl_peek(struct kmsgpipe *pipe, void __user *arg)
{
	struct kmsgpipe_peek peek;
	int ret;

	if (copy_from_user(&peek, arg, sizeof(peek)))
		return kmsgpipe_refuse("peek", "bad address", -EFAULT);
	if (peek.reserved)
		return kmsgpipe_refuse("peek", "reserved field is not 0", -EINVAL);

	pr_info_ratelimited("peek at message %u\n", peek.index);
	ret = kmsgpipe_peek(pipe, &peek);
	if (ret && ret != -EMSGSIZE)
		return ret;
	/* With the length a caller whose buffer was too small can bring a larger one. */
	return copy_to_user(arg, &peek, sizeof(peek)) ? -EFAULT : ret;
}

static long kmsgpipe_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct kmsgpipe *pipe = file->private_data;
	void __user *argp = (void __user *)arg;

	switch (cmd) {
	case KMSGPIPE_GET_STATS:
		return kmsgpipe_ioctl_get_stats(pipe, argp);
	case KMSGPIPE_CLEAR_QUEUE:
		return kmsgpipe_clear_queue(pipe);
	case KMSGPIPE_SET_LIMITS:
		return kmsgpipe_ioctl_set_limits(pipe, argp);
	case KMSGPIPE_PEEK:
		/* Who may not read() may not read messages this way, either. */
		if (!(file->f_mode & FMODE_READ))
			return kmsgpipe_refuse("peek", "file is not open for reading", -EBADF);
		return kmsgpipe_ioctl_peek(pipe, argp);
	case KMSGPIPE_SET_CLEANUP:
		return kmsgpipe_ioctl_set_cleanup(pipe, argp);
	case KMSGPIPE_GET_CLEANUP:
		return kmsgpipe_ioctl_get_cleanup(pipe, argp);
	default:
		pr_info_ratelimited("ioctl %#x: unknown\n", cmd);
		return -ENOTTY;
	}
}

static const struct file_operations kmsgpipe_fops = {
	/* Holds the module while a file is open: rmmod is refused, no code goes away. */
	.owner = THIS_MODULE,
	.open = kmsgpipe_open,
	.release = kmsgpipe_release,
	.read = kmsgpipe_read,
	.write = kmsgpipe_write,
	.poll = kmsgpipe_poll,
	.unlocked_ioctl = kmsgpipe_ioctl,
	/* A 32-bit program's pointer needs widening, its structs are the same. */
	.compat_ioctl = compat_ptr_ioctl,
};

/* devtmpfs asks for the node's mode here; its default lets only root in. */
static char *kmsgpipe_devnode(const struct device *dev, umode_t *mode)
{
	if (mode)
		*mode = 0666;
	return NULL;
}

static struct class kmsgpipe_class = {
	.name = KMSGPIPE_NAME,
	.devnode = KMSGPIPE_DEVNODE(kmsgpipe_devnode),
};

static int __init kmsgpipe_init(void)
{
	struct kmsgpipe *pipe = &kmsgpipe0;
	struct device *dev;
	int ret;

	ret = kmsgpipe_check_limits(max_msgs, msg_size);
	if (ret)
		return ret;
	ret = kmsgpipe_check_cleanup(cleanup_interval_ms, ttl_ms);
	if (ret)
		return ret;

	mutex_init(&pipe->read_lock);
	mutex_init(&pipe->control_lock);
	mutex_init(&pipe->lock);
	INIT_LIST_HEAD(&pipe->msgs);
	init_waitqueue_head(&pipe->readers);
	init_waitqueue_head(&pipe->writers);
	pipe->max_msgs = max_msgs;
	pipe->msg_size = msg_size;
	pipe->interval_ms = cleanup_interval_ms;
	pipe->ttl_ms = ttl_ms;
	timer_setup(&pipe->flush_timer, kmsgpipe_flush, 0);
	INIT_WORK(&pipe->cleanup_work, kmsgpipe_cleanup);

	ret = alloc_chrdev_region(&pipe->devt, 0, 1, KMSGPIPE_NAME);
	if (ret) {
		pr_err("no device number: %d\n", ret);
		return ret;
	}

	ret = class_register(&kmsgpipe_class);
	if (ret) {
		pr_err("cannot register the class: %d\n", ret);
		goto unregister_region;
	}

	/* From here on the device can be opened: all it needs is ready above. */
	cdev_init(&pipe->cdev, &kmsgpipe_fops);
	pipe->cdev.owner = THIS_MODULE;
	ret = cdev_add(&pipe->cdev, pipe->devt, 1);
	if (ret) {
		pr_err("cannot add the character device: %d\n", ret);
		goto unregister_class;
	}

	dev = device_create(&kmsgpipe_class, NULL, pipe->devt, NULL, KMSGPIPE_NAME "%d", 0);
	if (IS_ERR(dev)) {
		ret = PTR_ERR(dev);
		pr_err("cannot create the node: %d\n", ret);
		goto delete_cdev;
	}

	/* Last, when nothing can fail any more. The lock: SET_CLEANUP may be here already. */
	mutex_lock(&pipe->control_lock);
	kmsgpipe_start_timer(pipe);
	mutex_unlock(&pipe->control_lock);

	pr_info("loaded, major %d\n", MAJOR(pipe->devt));
	return 0;

delete_cdev:
	cdev_del(&pipe->cdev);
unregister_class:
	class_unregister(&kmsgpipe_class);
unregister_region:
	unregister_chrdev_region(pipe->devt, 1);
	return ret;
}

/* No file is open any more: nobody else can see the queue. */
static void kmsgpipe_free_all(struct kmsgpipe *pipe)
{
	struct kmsg *msg, *next;

	/* The _safe form fetches the next one before we free the current one. */
	list_for_each_entry_safe(msg, next, &pipe->msgs, node)
		kfree(msg);
}

/*
 * In the reverse order of kmsgpipe_init(): the node goes first, so that nobody new comes
 * in. The timer goes before the work that it queues, and that before the messages: the
 * other way round each could still be used by the one that is left. After its shutdown
 * nothing can start the timer again.
 */
static void __exit kmsgpipe_exit(void)
{
	struct kmsgpipe *pipe = &kmsgpipe0;

	device_destroy(&kmsgpipe_class, pipe->devt);
	cdev_del(&pipe->cdev);
	class_unregister(&kmsgpipe_class);
	unregister_chrdev_region(pipe->devt, 1);
	timer_shutdown_sync(&pipe->flush_timer);
	cancel_work_sync(&pipe->cleanup_work);
	kmsgpipe_free_all(pipe);
	pr_info("unloaded\n");
}

module_init(kmsgpipe_init);
module_exit(kmsgpipe_exit);

MODULE_DESCRIPTION("kmsgpipe lab 5: timer and workqueue");
MODULE_LICENSE("GPL");
