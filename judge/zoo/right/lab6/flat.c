// SPDX-License-Identifier: GPL-2.0
/*
 * kmsgpipe, lab 6, another way: no helpers, each call does all of its work itself.
 *
 * A reader takes the oldest letter out of the box and keeps it in box->open, which counts
 * as in the box, until it has been copied; if it cannot be copied it goes back to the front.
 * Everybody who waits is woken and looks for himself: nobody can take a wake-up from another.
 * There is more than was asked for: one more command, and a parameter that makes the log wordy.
 * One more file in sysfs, too: version.
 */

#include <linux/capability.h>
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/semaphore.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/timer.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "kmsgpipe.h"
#include "kmsgpipe_compat.h"

static uint max_msgs = 64;
module_param(max_msgs, uint, 0444);
static uint msg_size = 256;
module_param(msg_size, uint, 0444);
static uint ttl_ms = 30000;
module_param(ttl_ms, uint, 0444);
static uint cleanup_interval_ms = 1000;
module_param(cleanup_interval_ms, uint, 0444);
static bool wordy;
module_param(wordy, bool, 0644);

/* Not of this course: how many letters were ever turned away at the door. */
#define MAILBOX_GET_REFUSED	_IOR(KMSGPIPE_IOC_MAGIC, 0x70, __u64)

struct letter {
	struct list_head in_box;
	s64 posted_ms;
	size_t bytes;
	void *text;
};

struct mailbox {
	struct device dev;
	struct cdev cdev;
	struct semaphore reading;
	struct mutex deciding;	/* one change of settings at a time */
	struct mutex lock;	/* the list and all numbers */
	struct list_head letters;
	struct letter *open;
	u32 count;
	u32 limit;
	u32 longest;
	u64 written, read, cleared, expired, refused;
	wait_queue_head_t waiting;	/* readers and writers alike */
	u32 every_ms;
	u32 keep_ms;
	struct timer_list clock;
	struct work_struct postman;
};

static struct mailbox *box;
static dev_t number;

static int mailbox_open(struct inode *inode, struct file *file)
{
	file->private_data = container_of(inode->i_cdev, struct mailbox, cdev);
	return stream_open(inode, file);
}

static ssize_t mailbox_write(struct file *file, const char __user *text, size_t bytes,
			     loff_t *unused)
{
	struct mailbox *box = file->private_data;
	struct letter *letter;
	DEFINE_WAIT(wait);
	int error = 0;

	if (!bytes)
		return 0;
	if (bytes > READ_ONCE(box->longest))
		return -EMSGSIZE;
	letter = kzalloc(sizeof(*letter), GFP_KERNEL);
	if (!letter)
		return -ENOMEM;
	letter->bytes = bytes;
	letter->text = memdup_user(text, bytes);
	if (IS_ERR(letter->text)) {
		error = PTR_ERR(letter->text);
		kfree(letter);
		return error;
	}

	for (;;) {
		prepare_to_wait(&box->waiting, &wait, TASK_INTERRUPTIBLE);
		if (READ_ONCE(box->count) < READ_ONCE(box->limit)) {
			/* The lock may sleep, and that in its own state. */
			__set_current_state(TASK_RUNNING);
			mutex_lock(&box->lock);
			if (box->count < box->limit)
				break;
			mutex_unlock(&box->lock);
			continue;
		}
		error = -EAGAIN;
		if (file->f_flags & O_NONBLOCK)
			break;
		error = -ERESTARTSYS;
		if (signal_pending(current))
			break;
		error = 0;
		schedule();
	}
	finish_wait(&box->waiting, &wait);
	if (!error) {
		letter->posted_ms = ktime_to_ms(ktime_get());
		list_add_tail(&letter->in_box, &box->letters);
		WRITE_ONCE(box->count, box->count + 1);
		WRITE_ONCE(box->written, box->written + 1);
		mutex_unlock(&box->lock);
		wake_up_interruptible_all(&box->waiting);
	}
	if (error) {
		mutex_lock(&box->lock);
		box->refused++;
		mutex_unlock(&box->lock);
		kfree(letter->text);
		kfree(letter);
		return error;
	}
	return bytes;
}

static ssize_t mailbox_read(struct file *file, char __user *text, size_t room, loff_t *unused)
{
	struct mailbox *box = file->private_data;
	struct letter *letter;
	DEFINE_WAIT(wait);
	ssize_t result = 0;

	for (;;) {
		if (down_interruptible(&box->reading))
			return -ERESTARTSYS;
		mutex_lock(&box->lock);
		letter = list_first_entry_or_null(&box->letters, struct letter, in_box);
		if (letter) {
			list_del(&letter->in_box);
			box->open = letter;
		}
		mutex_unlock(&box->lock);
		if (letter)
			break;
		up(&box->reading);
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;

		for (;;) {
			prepare_to_wait(&box->waiting, &wait, TASK_INTERRUPTIBLE);
			if (READ_ONCE(box->count) || signal_pending(current))
				break;
			schedule();
		}
		finish_wait(&box->waiting, &wait);
		/* Somebody else may have been faster: then wait on, unless for a signal. */
		if (!READ_ONCE(box->count) && signal_pending(current))
			return -ERESTARTSYS;
	}

	if (letter->bytes > room)
		result = -EMSGSIZE;
	else if (copy_to_user(text, letter->text, letter->bytes))
		result = -EFAULT;
	else
		result = letter->bytes;

	mutex_lock(&box->lock);
	box->open = NULL;
	if (result < 0) {
		list_add(&letter->in_box, &box->letters);
	} else {
		WRITE_ONCE(box->count, box->count - 1);
		WRITE_ONCE(box->read, box->read + 1);
	}
	mutex_unlock(&box->lock);
	up(&box->reading);
	wake_up_interruptible_all(&box->waiting);
	if (result >= 0) {
		kfree(letter->text);
		kfree(letter);
	}
	return result;
}

static __poll_t mailbox_poll(struct file *file, struct poll_table_struct *table)
{
	struct mailbox *box = file->private_data;
	__poll_t ready = 0;

	poll_wait(file, &box->waiting, table);
	mutex_lock(&box->lock);
	if (box->count > 0)
		ready = EPOLLIN | EPOLLRDNORM;
	if (box->count < box->limit)
		ready |= EPOLLOUT | EPOLLWRNORM;
	mutex_unlock(&box->lock);
	return ready;
}

static int mailbox_clear(struct mailbox *box)
{
	struct letter *letter, *next;
	LIST_HEAD(waste);
	int dropped;

	if (!capable(CAP_SYS_ADMIN)) {
		dev_info_ratelimited(&box->dev, "clearing is for the administrator\n");
		return -EPERM;
	}
	mutex_lock(&box->lock);
	list_splice_init(&box->letters, &waste);
	/* The open one stays: it is on no list. */
	dropped = box->count - !!box->open;
	WRITE_ONCE(box->cleared, box->cleared + dropped);
	WRITE_ONCE(box->count, !!box->open);
	mutex_unlock(&box->lock);
	list_for_each_entry_safe(letter, next, &waste, in_box) {
		kfree(letter->text);
		kfree(letter);
	}
	wake_up_interruptible_all(&box->waiting);
	dev_info(&box->dev, "emptied, %d letters\n", dropped);
	return dropped;
}

static int mailbox_limit(struct mailbox *box, u32 limit, u32 longest)
{
	if (!capable(CAP_SYS_ADMIN)) {
		dev_info_ratelimited(&box->dev, "limits are for the administrator\n");
		return -EPERM;
	}
	if (!limit || limit > KMSGPIPE_MAX_MSGS_MAX || !longest ||
	    longest > KMSGPIPE_MSG_SIZE_MAX) {
		dev_info(&box->dev, "no such limits: %u letters of %u bytes\n", limit, longest);
		return -EINVAL;
	}
	mutex_lock(&box->lock);
	WRITE_ONCE(box->limit, limit);
	WRITE_ONCE(box->longest, longest);
	mutex_unlock(&box->lock);
	wake_up_interruptible_all(&box->waiting);
	dev_info(&box->dev, "now for %u letters of %u bytes\n", limit, longest);
	return 0;
}

static int mailbox_time(struct mailbox *box, u32 every_ms, u32 keep_ms)
{
	if (!capable(CAP_SYS_ADMIN)) {
		dev_info_ratelimited(&box->dev, "times are for the administrator\n");
		return -EPERM;
	}
	if (every_ms > KMSGPIPE_CLEANUP_MS_MAX || keep_ms > KMSGPIPE_CLEANUP_MS_MAX) {
		dev_info(&box->dev, "no such times: %u ms, every %u ms\n", keep_ms, every_ms);
		return -EINVAL;
	}
	mutex_lock(&box->lock);
	WRITE_ONCE(box->every_ms, every_ms);
	WRITE_ONCE(box->keep_ms, keep_ms);
	mutex_unlock(&box->lock);
	timer_delete_sync(&box->clock);
	cancel_work_sync(&box->postman);
	if (every_ms)
		mod_timer(&box->clock, jiffies + msecs_to_jiffies(every_ms));
	dev_info(&box->dev, "letters are kept %u ms, every %u ms is a look\n", keep_ms, every_ms);
	return 0;
}

static void mailbox_clock(struct timer_list *clock)
{
	struct mailbox *box = container_of(clock, struct mailbox, clock);
	u32 every_ms = READ_ONCE(box->every_ms);

	schedule_work(&box->postman);
	if (every_ms)
		mod_timer(clock, jiffies + msecs_to_jiffies(every_ms));
}

/* One at a time: nobody ever waits for more than that. */
static void mailbox_postman(struct work_struct *work)
{
	struct mailbox *box = container_of(work, struct mailbox, postman);
	struct letter *letter;
	u32 old = 0;

	for (;;) {
		mutex_lock(&box->lock);
		letter = list_first_entry_or_null(&box->letters, struct letter, in_box);
		if (letter && box->keep_ms &&
		    ktime_to_ms(ktime_get()) - letter->posted_ms > box->keep_ms) {
			list_del(&letter->in_box);
			WRITE_ONCE(box->count, box->count - 1);
			WRITE_ONCE(box->expired, box->expired + 1);
		} else {
			letter = NULL;
		}
		mutex_unlock(&box->lock);
		if (!letter)
			break;
		kfree(letter->text);
		kfree(letter);
		old++;
	}
	if (!old)
		return;
	wake_up_interruptible_all(&box->waiting);
	dev_info_ratelimited(&box->dev, "%u letters nobody came for\n", old);
}

static long mailbox_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct mailbox *box = file->private_data;
	void __user *user = (void __user *)arg;
	struct kmsgpipe_stats stats = {};
	struct kmsgpipe_limits limits;
	struct kmsgpipe_cleanup times = {};
	struct kmsgpipe_peek peek;
	struct letter *letter;
	u32 place, room;
	void *copy;
	long ret;

	if (wordy)
		dev_info_ratelimited(&box->dev, "%s (%d) sends %#x\n", current->comm,
				     current->pid, cmd);

	switch (cmd) {
	case KMSGPIPE_GET_STATS:
		dev_info_ratelimited(&box->dev, "counters are asked for\n");
		mutex_lock(&box->lock);
		stats.written = box->written;
		stats.read = box->read;
		stats.cleared = box->cleared;
		stats.expired = box->expired;
		stats.queued = box->count;
		stats.max_msgs = box->limit;
		stats.msg_size = box->longest;
		mutex_unlock(&box->lock);
		return copy_to_user(user, &stats, sizeof(stats)) ? -EFAULT : 0;

	case MAILBOX_GET_REFUSED:
		mutex_lock(&box->lock);
		stats.written = box->refused;
		mutex_unlock(&box->lock);
		return put_user(stats.written, (u64 __user *)user);

	case KMSGPIPE_CLEAR_QUEUE:
		return mailbox_clear(box);

	case KMSGPIPE_SET_LIMITS:
		if (copy_from_user(&limits, user, sizeof(limits)))
			return -EFAULT;
		if (memchr_inv(limits.reserved, 0, sizeof(limits.reserved)))
			return -EINVAL;
		mutex_lock(&box->deciding);
		ret = mailbox_limit(box, limits.max_msgs, limits.msg_size);
		mutex_unlock(&box->deciding);
		return ret;

	case KMSGPIPE_PEEK:
		dev_info_ratelimited(&box->dev, "somebody peeks\n");
		if (!(file->f_mode & FMODE_READ))
			return -EBADF;
		if (copy_from_user(&peek, user, sizeof(peek)))
			return -EFAULT;
		if (peek.reserved)
			return -EINVAL;
		room = peek.size;
		copy = NULL;
		ret = -ENOENT;
		mutex_lock(&box->lock);
		place = peek.index;
		if (box->open && !place--)
			letter = box->open;
		else
			letter = NULL;
		if (!letter && peek.index < box->count) {
			list_for_each_entry(letter, &box->letters, in_box) {
				if (!place--)
					break;
			}
		}
		if (letter) {
			peek.size = letter->bytes;
			ret = room < letter->bytes ? -EMSGSIZE : 0;
			/* A small allocation: whoever waits for the lock waits a moment longer. */
			copy = kmemdup(letter->text, letter->bytes, GFP_KERNEL);
			if (!copy)
				ret = -ENOMEM;
		}
		mutex_unlock(&box->lock);
		if (!ret && copy_to_user(u64_to_user_ptr(peek.buf), copy, peek.size))
			ret = -EFAULT;
		kfree(copy);
		if (ret && ret != -EMSGSIZE)
			return ret;
		return copy_to_user(user, &peek, sizeof(peek)) ? -EFAULT : ret;

	case KMSGPIPE_GET_CLEANUP:
		dev_info_ratelimited(&box->dev, "times are asked for\n");
		mutex_lock(&box->lock);
		times.interval_ms = box->every_ms;
		times.ttl_ms = box->keep_ms;
		mutex_unlock(&box->lock);
		return copy_to_user(user, &times, sizeof(times)) ? -EFAULT : 0;

	case KMSGPIPE_SET_CLEANUP:
		if (copy_from_user(&times, user, sizeof(times)))
			return -EFAULT;
		if (memchr_inv(times.reserved, 0, sizeof(times.reserved)))
			return -EINVAL;
		mutex_lock(&box->deciding);
		ret = mailbox_time(box, times.interval_ms, times.ttl_ms);
		mutex_unlock(&box->deciding);
		return ret;

	default:
		dev_info_ratelimited(&box->dev, "what is %#x?\n", cmd);
		return -ENOTTY;
	}
}

static const struct file_operations mailbox_fops = {
	.owner = THIS_MODULE,
	.open = mailbox_open,
	.read = mailbox_read,
	.write = mailbox_write,
	.poll = mailbox_poll,
	.unlocked_ioctl = mailbox_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

/* All files have this one show and this one store; the name tells them apart. */
static ssize_t value_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct mailbox *box = container_of(dev, struct mailbox, dev);
	const struct {
		const char *name;
		u64 value;
	} values[] = {
		{ "written", READ_ONCE(box->written) },
		{ "read", READ_ONCE(box->read) },
		{ "cleared", READ_ONCE(box->cleared) },
		{ "expired", READ_ONCE(box->expired) },
		{ "queued", READ_ONCE(box->count) },
		{ "max_msgs", READ_ONCE(box->limit) },
		{ "msg_size", READ_ONCE(box->longest) },
		{ "cleanup_interval_ms", READ_ONCE(box->every_ms) },
		{ "ttl_ms", READ_ONCE(box->keep_ms) },
		{ "version", 3 },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(values); i++)
		if (!strcmp(attr->attr.name, values[i].name))
			return sysfs_emit(buf, "%llu\n", values[i].value);
	return -EIO;
}

static ssize_t value_store(struct device *dev, struct device_attribute *attr, const char *buf,
			   size_t count)
{
	struct mailbox *box = container_of(dev, struct mailbox, dev);
	const char *name = attr->attr.name;
	int ret;
	u32 value;

	ret = kstrtou32(buf, 10, &value);
	if (ret || (!strcmp(name, "clear_queue") && value != 1)) {
		dev_info_ratelimited(dev, "nothing to write to %s\n", name);
		return ret ?: -EINVAL;
	}
	mutex_lock(&box->deciding);
	if (!strcmp(name, "max_msgs"))
		ret = mailbox_limit(box, value, box->longest);
	else if (!strcmp(name, "msg_size"))
		ret = mailbox_limit(box, box->limit, value);
	else if (!strcmp(name, "ttl_ms"))
		ret = mailbox_time(box, box->every_ms, value);
	else if (!strcmp(name, "cleanup_interval_ms"))
		ret = mailbox_time(box, value, box->keep_ms);
	else
		ret = mailbox_clear(box);
	mutex_unlock(&box->deciding);
	return ret < 0 ? ret : count;
}

#define FILE_RO(name)	struct device_attribute file_##name = __ATTR(name, 0444, value_show, NULL)
#define FILE_RW(name)	struct device_attribute file_##name = \
	__ATTR(name, 0644, value_show, value_store)

static FILE_RO(written);
static FILE_RO(read);
static FILE_RO(cleared);
static FILE_RO(expired);
static FILE_RO(queued);
static FILE_RO(version);
static FILE_RW(max_msgs);
static FILE_RW(msg_size);
static FILE_RW(ttl_ms);
static FILE_RW(cleanup_interval_ms);
static struct device_attribute file_clear_queue = __ATTR(clear_queue, 0200, NULL, value_store);

static struct attribute *mailbox_attrs[] = {
	&file_written.attr,
	&file_read.attr,
	&file_cleared.attr,
	&file_expired.attr,
	&file_queued.attr,
	&file_version.attr,
	&file_max_msgs.attr,
	&file_msg_size.attr,
	&file_ttl_ms.attr,
	&file_cleanup_interval_ms.attr,
	&file_clear_queue.attr,
	NULL,
};
ATTRIBUTE_GROUPS(mailbox);

static char *mailbox_devnode(const struct device *dev, umode_t *mode)
{
	if (mode)
		*mode = 0666;
	return NULL;
}

static struct class mailbox_class = {
	.name = "kmsgpipe",
	.devnode = KMSGPIPE_DEVNODE(mailbox_devnode),
};

/* The last reference is gone: no file, no directory in sysfs. */
static void mailbox_release(struct device *dev)
{
	struct mailbox *box = container_of(dev, struct mailbox, dev);
	struct letter *letter, *next;

	list_for_each_entry_safe(letter, next, &box->letters, in_box) {
		kfree(letter->text);
		kfree(letter);
	}
	kfree(box);
}

static int __init mailbox_init(void)
{
	int error;

	if (max_msgs < 1 || max_msgs > 65536) {
		pr_err("max_msgs: 1 <= %u <= 65536 is not true\n", max_msgs);
		return -EINVAL;
	}
	if (msg_size < 1 || msg_size > 4096) {
		pr_err("msg_size: 1 <= %u <= 4096 is not true\n", msg_size);
		return -EINVAL;
	}
	if (ttl_ms > 86400000 || cleanup_interval_ms > 86400000) {
		pr_err("ttl_ms and cleanup_interval_ms: 0 to 86400000\n");
		return -EINVAL;
	}

	box = kzalloc(sizeof(*box), GFP_KERNEL);
	if (!box)
		return -ENOMEM;
	error = alloc_chrdev_region(&number, 0, 1, "mailbox");
	if (error) {
		kfree(box);
		return error;
	}
	error = class_register(&mailbox_class);
	if (error) {
		unregister_chrdev_region(number, 1);
		kfree(box);
		return error;
	}

	sema_init(&box->reading, 1);
	mutex_init(&box->deciding);
	mutex_init(&box->lock);
	INIT_LIST_HEAD(&box->letters);
	init_waitqueue_head(&box->waiting);
	box->limit = max_msgs;
	box->longest = msg_size;
	box->every_ms = cleanup_interval_ms;
	box->keep_ms = ttl_ms;
	timer_setup(&box->clock, mailbox_clock, 0);
	INIT_WORK(&box->postman, mailbox_postman);

	device_initialize(&box->dev);
	box->dev.class = &mailbox_class;
	box->dev.devt = number;
	box->dev.release = mailbox_release;
	box->dev.groups = mailbox_groups;
	error = dev_set_name(&box->dev, "kmsgpipe0");
	if (!error) {
		cdev_init(&box->cdev, &mailbox_fops);
		box->cdev.owner = THIS_MODULE;
		error = cdev_device_add(&box->cdev, &box->dev);
	}
	if (error) {
		put_device(&box->dev);
		class_unregister(&mailbox_class);
		unregister_chrdev_region(number, 1);
		return error;
	}

	mutex_lock(&box->deciding);
	if (box->every_ms)
		mod_timer(&box->clock, jiffies + msecs_to_jiffies(box->every_ms));
	mutex_unlock(&box->deciding);
	return 0;
}

static void __exit mailbox_exit(void)
{
	cdev_device_del(&box->cdev, &box->dev);
	timer_shutdown_sync(&box->clock);
	cancel_work_sync(&box->postman);
	put_device(&box->dev);
	class_unregister(&mailbox_class);
	unregister_chrdev_region(number, 1);
}

module_init(mailbox_init);
module_exit(mailbox_exit);

MODULE_DESCRIPTION("kmsgpipe lab 6 as a mailbox");
MODULE_LICENSE("GPL");
