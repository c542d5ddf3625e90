/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kmsgpipe: tracepoints of one message's life. They cost nothing until someone turns
 * them on, in events/kmsgpipe of tracefs (Documentation/trace/events.rst).
 *
 * No message's bytes are traced, only lengths: a trace may be read by others than the
 * message was meant for.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM kmsgpipe

/* Read several times, each time to make something else of it. */
#if !defined(_KMSGPIPE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _KMSGPIPE_TRACE_H

#include <linux/device.h>
#include <linux/ktime.h>
#include <linux/tracepoint.h>

/* A message was queued. len: its bytes; depth: messages in the queue, with it. */
TRACE_EVENT(kmsgpipe_enqueue,
	    TP_PROTO(const struct device *dev, size_t len, unsigned int depth),
	    TP_ARGS(dev, len, depth),
	    TP_STRUCT__entry(__field(unsigned int, minor)
			     __field(size_t, len)
			     __field(unsigned int, depth)),
	    TP_fast_assign(__entry->minor = MINOR(dev->devt);
			   __entry->len = len;
			   __entry->depth = depth;),
	    TP_printk("kmsgpipe%u len=%zu depth=%u",
		      __entry->minor, __entry->len, __entry->depth));

/* A reader has taken a message. waited_us: how long it was in the queue. */
TRACE_EVENT(kmsgpipe_dequeue,
	    TP_PROTO(const struct device *dev, size_t len, unsigned int depth, ktime_t queued_at),
	    TP_ARGS(dev, len, depth, queued_at),
	    TP_STRUCT__entry(__field(unsigned int, minor)
			     __field(size_t, len)
			     __field(unsigned int, depth)
			     __field(s64, waited_us)),
	    TP_fast_assign(__entry->minor = MINOR(dev->devt);
			   __entry->len = len;
			   __entry->depth = depth;
			   __entry->waited_us = ktime_us_delta(ktime_get(), queued_at);),
	    TP_printk("kmsgpipe%u len=%zu depth=%u waited_us=%lld",
		      __entry->minor, __entry->len, __entry->depth, __entry->waited_us));

/* A caller goes to sleep, until there is room (writer) or a message (reader). */
TRACE_EVENT(kmsgpipe_sleep,
	    TP_PROTO(const struct device *dev, bool writer),
	    TP_ARGS(dev, writer),
	    TP_STRUCT__entry(__field(unsigned int, minor)
			     __field(bool, writer)),
	    TP_fast_assign(__entry->minor = MINOR(dev->devt);
			   __entry->writer = writer;),
	    TP_printk("kmsgpipe%u %s",
		      __entry->minor, __entry->writer ? "writer" : "reader"));

/* It runs again. ret: 0, or -ERESTARTSYS (-512) if a signal woke it. */
TRACE_EVENT(kmsgpipe_wake,
	    TP_PROTO(const struct device *dev, bool writer, int ret),
	    TP_ARGS(dev, writer, ret),
	    TP_STRUCT__entry(__field(unsigned int, minor)
			     __field(bool, writer)
			     __field(int, ret)),
	    TP_fast_assign(__entry->minor = MINOR(dev->devt);
			   __entry->writer = writer;
			   __entry->ret = ret;),
	    TP_printk("kmsgpipe%u %s ret=%d",
		      __entry->minor, __entry->writer ? "writer" : "reader", __entry->ret));

/* Messages were dropped because they waited too long. depth: what is left. */
TRACE_EVENT(kmsgpipe_expire,
	    TP_PROTO(const struct device *dev, unsigned int count, unsigned int depth),
	    TP_ARGS(dev, count, depth),
	    TP_STRUCT__entry(__field(unsigned int, minor)
			     __field(unsigned int, count)
			     __field(unsigned int, depth)),
	    TP_fast_assign(__entry->minor = MINOR(dev->devt);
			   __entry->count = count;
			   __entry->depth = depth;),
	    TP_printk("kmsgpipe%u count=%u depth=%u",
		      __entry->minor, __entry->count, __entry->depth));

#endif /* _KMSGPIPE_TRACE_H */

/* Where <trace/define_trace.h> finds this file again: beside the driver's source. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE kmsgpipe_trace
#include <trace/define_trace.h>
