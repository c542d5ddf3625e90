// SPDX-License-Identifier: GPL-2.0
/*
 * kmsgpipe, lab 2, another way: a ring of pointers for a list, a misc device for a class
 * of its own, one global struct, and other words in the log.
 *
 * ring.lock guards the ring and the numbers. ring.reader belongs to the one process that
 * copies the oldest packet out; it is taken first.
 */
#define pr_fmt(fmt) "kmsgpipe ring: " fmt

#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

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
	struct mutex lock;	/* guards what follows */
	struct packet **slots;
	unsigned int size;	/* of slots[] */
	unsigned int head;	/* the oldest packet */
	unsigned int used;
	unsigned int max_msgs;
	unsigned int msg_size;
} ring;

/* The place of the packet before which n others are in the ring. */
static struct packet **place(unsigned int n)
{
	return &ring.slots[(ring.head + n) % ring.size];
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
	if (ring.used >= ring.max_msgs) {
		mutex_unlock(&ring.lock);
		err = -ENOSPC;
		goto free_packet;
	}
	*place(ring.used) = packet;
	ring.used++;
	mutex_unlock(&ring.lock);

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
	mutex_unlock(&ring.lock);

	return packet;
}

static void end_read(bool taken)
{
	mutex_lock(&ring.lock);
	if (taken) {
		ring.head = (ring.head + 1) % ring.size;
		ring.used--;
	}
	mutex_unlock(&ring.lock);
}

static ssize_t ring_read(struct file *file, char __user *to, size_t n, loff_t *off)
{
	struct packet *packet;
	ssize_t ret;

	mutex_lock(&ring.reader);
	packet = begin_read();
	if (!packet) {
		mutex_unlock(&ring.reader);
		return 0;
	}

	ret = packet->len;
	if (n < packet->len)
		ret = -EMSGSIZE;
	else if (copy_to_user(to, packet->bytes, packet->len))
		ret = -EFAULT;
	end_read(ret > 0);
	mutex_unlock(&ring.reader);
	if (ret > 0)
		kfree(packet);
	return ret;
}

static bool within(unsigned int value, unsigned int least, unsigned int most)
{
	return value >= least && value <= most;
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
	mutex_init(&ring.lock);
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

MODULE_DESCRIPTION("kmsgpipe lab 2 with a ring");
MODULE_LICENSE("GPL");
