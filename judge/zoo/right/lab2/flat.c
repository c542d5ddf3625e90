// SPDX-License-Identifier: GPL-2.0
/*
 * kmsgpipe, lab 2, another way: no helpers, each call does all of its work itself.
 *
 * A reader takes the oldest letter out of the box and keeps it in box->open, which counts
 * as in the box, until it has been copied; if it cannot be copied it goes back to the front.
 */

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/semaphore.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "kmsgpipe.h"
#include "kmsgpipe_compat.h"

static uint max_msgs = 64;
module_param(max_msgs, uint, 0444);
static uint msg_size = 256;
module_param(msg_size, uint, 0444);

struct letter {
	struct list_head in_box;
	size_t bytes;
	void *text;
};

struct mailbox {
	struct device dev;
	struct cdev cdev;
	struct semaphore reading;
	struct mutex lock;	/* the list and all numbers */
	struct list_head letters;
	struct letter *open;
	u32 count;
	u32 limit;
	u32 longest;
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

	mutex_lock(&box->lock);
	if (box->count < box->limit) {
		list_add_tail(&letter->in_box, &box->letters);
		box->count++;
	} else {
		error = -ENOSPC;
	}
	mutex_unlock(&box->lock);
	if (error) {
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
	ssize_t result = 0;

	down(&box->reading);
	mutex_lock(&box->lock);
	letter = list_first_entry_or_null(&box->letters, struct letter, in_box);
	if (letter)
		list_del(&letter->in_box);
	box->open = letter;
	mutex_unlock(&box->lock);
	if (!letter) {
		up(&box->reading);
		return 0;
	}

	if (letter->bytes > room)
		result = -EMSGSIZE;
	else if (copy_to_user(text, letter->text, letter->bytes))
		result = -EFAULT;
	else
		result = letter->bytes;

	mutex_lock(&box->lock);
	box->open = NULL;
	if (result < 0)
		list_add(&letter->in_box, &box->letters);
	else
		box->count--;
	mutex_unlock(&box->lock);
	up(&box->reading);
	if (result >= 0) {
		kfree(letter->text);
		kfree(letter);
	}
	return result;
}

static const struct file_operations mailbox_fops = {
	.owner = THIS_MODULE,
	.open = mailbox_open,
	.read = mailbox_read,
	.write = mailbox_write,
};

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
	mutex_init(&box->lock);
	INIT_LIST_HEAD(&box->letters);
	box->limit = max_msgs;
	box->longest = msg_size;

	device_initialize(&box->dev);
	box->dev.class = &mailbox_class;
	box->dev.devt = number;
	box->dev.release = mailbox_release;
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
	return 0;
}

static void __exit mailbox_exit(void)
{
	cdev_device_del(&box->cdev, &box->dev);
	put_device(&box->dev);
	class_unregister(&mailbox_class);
	unregister_chrdev_region(number, 1);
}

module_init(mailbox_init);
module_exit(mailbox_exit);

MODULE_DESCRIPTION("kmsgpipe lab 2 as a mailbox");
MODULE_LICENSE("GPL");
