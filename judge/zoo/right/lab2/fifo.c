// SPDX-License-Identifier: GPL-2.0
/*
 * kmsgpipe, lab 2, another way: a kfifo of pointers for a list, and a spinlock for the mutex.
 *
 * The oldest note is taken out of the kfifo when the first reader asks for it, and stays in
 * desk.front until it has been copied: a kfifo takes nothing back at its front. The spinlock is
 * held for a few instructions only, never across a copy, an allocation or a kfree().
 */

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/kfifo.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>

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
	spinlock_t lock;	/* guards what follows */
	struct note *front;	/* older than all in the fifo */
	struct note_fifo fifo;
	unsigned int used;	/* with the one in front */
	unsigned int max_msgs;
	unsigned int msg_size;
} desk;

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
	if (desk.used >= desk.max_msgs) {
		spin_unlock(&desk.lock);
		err = -ENOSPC;
		goto free_note;
	}
	/* It has room for max_msgs and nobody else adds: this cannot fail. */
	kfifo_put(&desk.fifo.notes, note);
	desk.used++;
	spin_unlock(&desk.lock);

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
	spin_unlock(&desk.lock);

	return note;
}

static void end_read(bool taken)
{
	spin_lock(&desk.lock);
	if (taken) {
		desk.front = NULL;
		desk.used--;
	}
	spin_unlock(&desk.lock);
}

static ssize_t desk_read(struct file *file, char __user *to, size_t n, loff_t *off)
{
	struct note *note;
	ssize_t ret;

	mutex_lock(&desk.reader);
	note = begin_read();
	if (!note) {
		mutex_unlock(&desk.reader);
		return 0;
	}

	ret = note->len;
	if (n < note->len)
		ret = -EMSGSIZE;
	else if (copy_to_user(to, note->bytes, note->len))
		ret = -EFAULT;
	end_read(ret > 0);
	mutex_unlock(&desk.reader);
	if (ret > 0)
		kfree(note);
	return ret;
}

static bool within(unsigned long value, unsigned int least, unsigned int most)
{
	return value >= least && value <= most;
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
	spin_lock_init(&desk.lock);
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

MODULE_DESCRIPTION("kmsgpipe lab 2 with a kfifo");
MODULE_LICENSE("GPL");
