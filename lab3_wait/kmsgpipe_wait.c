// SPDX-License-Identifier: GPL-2.0
/*
 * kmsgpipe, lab 3: readers and writers that wait for each other.
 *
 * A write() appends one message, a read() takes the oldest one: first in,
 * first out. A reader sleeps while there is no message, a writer while there is
 * no room.
 *
 * Locking: kmsgpipe.lock protects msgs and depth. It is never held across a copy
 * from or to user space: such a copy can fault, and a page fault may have to
 * wait for a disk while everybody else waits for the lock. kmsgpipe.read_lock lets
 * one reader at a time copy the first message out; it is taken before lock.
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

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "kmsgpipe.h"
#include "kmsgpipe_compat.h"

static unsigned int max_msgs = KMSGPIPE_MAX_MSGS;
module_param(max_msgs, uint, 0444);
MODULE_PARM_DESC(max_msgs, "most messages queued at a time, 1 to "
		 __stringify(KMSGPIPE_MAX_MSGS_MAX));

static unsigned int msg_size = KMSGPIPE_MSG_SIZE;
module_param(msg_size, uint, 0444);
MODULE_PARM_DESC(msg_size, "longest message in bytes, 1 to " __stringify(KMSGPIPE_MSG_SIZE_MAX));

/**
 * struct kmsg - one message
 * @node: its place in kmsgpipe.msgs
 * @len: length of @data in bytes
 * @data: the bytes that were written
 */
struct kmsg {
	struct list_head node;
	size_t len;
	char data[];
};

/**
 * struct kmsgpipe - the device
 * @cdev: connects the device number to the file operations
 * @devt: the device number
 * @read_lock: held by the one reader that copies the first message out
 * @lock: protects @msgs and @depth
 * @msgs: the messages, oldest first
 * @depth: number of messages in @msgs; sleepers look at it without @lock
 * @readers: sleep here until there is a message
 * @writers: sleep here until there is room
 */
struct kmsgpipe {
	struct cdev cdev;
	dev_t devt;
	struct mutex read_lock;	/* taken before lock */
	struct mutex lock;	/* never held across a copy from or to user space */
	struct list_head msgs;
	unsigned int depth;
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
	return READ_ONCE(pipe->depth) < max_msgs;
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
	list_add_tail(&msg->node, &pipe->msgs);
	WRITE_ONCE(pipe->depth, pipe->depth + 1);
	mutex_unlock(&pipe->lock);

	/* There is a message now: whoever waits for one can go on. */
	wake_up_interruptible_poll(&pipe->readers, EPOLLIN | EPOLLRDNORM);
	return 0;
}

/*
 * The first message, or NULL. It stays in the queue. The caller holds
 * pipe->read_lock: nobody else can take the message away meanwhile.
 */
static struct kmsg *kmsgpipe_first(struct kmsgpipe *pipe)
{
	struct kmsg *msg;

	mutex_lock(&pipe->lock);
	msg = list_first_entry_or_null(&pipe->msgs, struct kmsg, node);
	mutex_unlock(&pipe->lock);

	return msg;
}

/* Afterwards the caller owns @msg. */
static void kmsgpipe_dequeue(struct kmsgpipe *pipe, struct kmsg *msg)
{
	mutex_lock(&pipe->lock);
	list_del(&msg->node);
	WRITE_ONCE(pipe->depth, pipe->depth - 1);
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
		goto unlock_read;
	}
	if (copy_to_user(buf, msg->data, msg->len)) {
		ret = -EFAULT;
		goto unlock_read;
	}

	/* Only now, with the copy done, can nothing go wrong any more: take it. */
	kmsgpipe_dequeue(pipe, msg);
	mutex_unlock(&pipe->read_lock);

	ret = msg->len;
	kfree(msg);
	pr_info_ratelimited("read %zd bytes\n", ret);
	return ret;

unlock_read:
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
	if (count > msg_size)
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

static const struct file_operations kmsgpipe_fops = {
	/* Holds the module while a file is open: rmmod is refused, no code goes away. */
	.owner = THIS_MODULE,
	.open = kmsgpipe_open,
	.release = kmsgpipe_release,
	.read = kmsgpipe_read,
	.write = kmsgpipe_write,
	.poll = kmsgpipe_poll,
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

/* Without these bounds one careless parameter lets any writer take all memory. */
static int __init kmsgpipe_check_params(void)
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

static int __init kmsgpipe_init(void)
{
	struct kmsgpipe *pipe = &kmsgpipe0;
	struct device *dev;
	int ret;

	ret = kmsgpipe_check_params();
	if (ret)
		return ret;

	mutex_init(&pipe->read_lock);
	mutex_init(&pipe->lock);
	INIT_LIST_HEAD(&pipe->msgs);
	init_waitqueue_head(&pipe->readers);
	init_waitqueue_head(&pipe->writers);

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

/* In the reverse order of kmsgpipe_init(): the node goes first, so that nobody new comes in. */
static void __exit kmsgpipe_exit(void)
{
	struct kmsgpipe *pipe = &kmsgpipe0;

	device_destroy(&kmsgpipe_class, pipe->devt);
	cdev_del(&pipe->cdev);
	class_unregister(&kmsgpipe_class);
	unregister_chrdev_region(pipe->devt, 1);
	kmsgpipe_free_all(pipe);
	pr_info("unloaded\n");
}

module_init(kmsgpipe_init);
module_exit(kmsgpipe_exit);

MODULE_DESCRIPTION("kmsgpipe lab 3: wait queues and blocking I/O");
MODULE_LICENSE("GPL");
