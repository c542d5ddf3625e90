// SPDX-License-Identifier: GPL-2.0
/*
 * kmsgpipe, lab 1: a character device that echoes what was written to it.
 *
 * The device holds one text. A write() replaces it, a read() returns it from
 * the file position on, as from a small file.
 *
 * Locking: kmsgpipe.lock protects text and len. It is never held across a copy
 * from or to user space: such a copy can fault, and a page fault may have to
 * wait for a disk while everybody else waits for the lock.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/uaccess.h>

#include "kmsgpipe.h"
#include "kmsgpipe_compat.h"

/**
 * struct kmsgpipe - the device
 * @cdev: connects the device number to the file operations
 * @devt: the device number
 * @lock: protects @text and @len
 * @text: the last text written
 * @len: length of @text in bytes
 */
struct kmsgpipe {
	struct cdev cdev;
	dev_t devt;
	struct mutex lock;	/* never held across a copy from or to user space */
	char text[KMSGPIPE_MSG_SIZE];
	size_t len;
};

static struct kmsgpipe kmsgpipe0;

static int kmsgpipe_open(struct inode *inode, struct file *file)
{
	file->private_data = container_of(inode->i_cdev, struct kmsgpipe, cdev);
	pr_info_ratelimited("open\n");
	return 0;
}

static int kmsgpipe_release(struct inode *inode, struct file *file)
{
	pr_info_ratelimited("release\n");
	return 0;
}

static ssize_t kmsgpipe_read(struct file *file, char __user *buf, size_t count, loff_t *ppos)
{
	struct kmsgpipe *pipe = file->private_data;
	char text[KMSGPIPE_MSG_SIZE];
	size_t len;

	/* Copy first, so that the lock is free again when user space faults. */
	mutex_lock(&pipe->lock);
	len = pipe->len;
	memcpy(text, pipe->text, len);
	mutex_unlock(&pipe->lock);

	/* 0 means end of file: this is what makes cat stop. */
	if (*ppos >= len)
		return 0;

	count = min_t(size_t, count, len - *ppos);
	if (copy_to_user(buf, text + *ppos, count))
		return -EFAULT;

	/* Without this, cat would read the same text for ever. */
	*ppos += count;
	pr_info_ratelimited("read %zu bytes\n", count);
	return count;
}

static ssize_t kmsgpipe_write(struct file *file, const char __user *buf, size_t count,
			      loff_t *ppos)
{
	struct kmsgpipe *pipe = file->private_data;
	char text[KMSGPIPE_MSG_SIZE];

	if (!count)
		return 0;
	/* Check before copying: count comes from user space and may be anything. */
	if (count > sizeof(text))
		return -EMSGSIZE;

	/* Into a local copy: if it faults half-way, the old text is still whole. */
	if (copy_from_user(text, buf, count))
		return -EFAULT;

	mutex_lock(&pipe->lock);
	memcpy(pipe->text, text, count);
	pipe->len = count;
	mutex_unlock(&pipe->lock);

	/* The length only: a user could forge log lines with the text itself. */
	pr_info_ratelimited("write %zu bytes\n", count);
	return count;
}

static loff_t kmsgpipe_llseek(struct file *file, loff_t offset, int whence)
{
	struct kmsgpipe *pipe = file->private_data;
	size_t len;

	mutex_lock(&pipe->lock);
	len = pipe->len;
	mutex_unlock(&pipe->lock);

	return fixed_size_llseek(file, offset, whence, len);
}

static const struct file_operations kmsgpipe_fops = {
	/* Holds the module while a file is open: rmmod is refused, no code goes away. */
	.owner = THIS_MODULE,
	.open = kmsgpipe_open,
	.release = kmsgpipe_release,
	.read = kmsgpipe_read,
	.write = kmsgpipe_write,
	.llseek = kmsgpipe_llseek,
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

	mutex_init(&pipe->lock);

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

/* In the reverse order of kmsgpipe_init(): the node goes first, so that nobody new comes in. */
static void __exit kmsgpipe_exit(void)
{
	struct kmsgpipe *pipe = &kmsgpipe0;

	device_destroy(&kmsgpipe_class, pipe->devt);
	cdev_del(&pipe->cdev);
	class_unregister(&kmsgpipe_class);
	unregister_chrdev_region(pipe->devt, 1);
	pr_info("unloaded\n");
}

module_init(kmsgpipe_init);
module_exit(kmsgpipe_exit);

MODULE_DESCRIPTION("kmsgpipe lab 1: a character device that echoes");
MODULE_LICENSE("GPL");
