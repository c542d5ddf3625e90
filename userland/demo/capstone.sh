# Load the driver. Nothing of this touches the kernel of your own machine.
sudo insmod kmsgpipe.ko
# The lab plan's three lines: ten messages in,
for i in {1..10}; do echo "msg$i" > /dev/kmsgpipe0; done
# ten messages out. Then cat waits for the next one, as lab 3 taught; Ctrl-C ends it.
cat /dev/kmsgpipe0
^C
sudo ioctl /dev/kmsgpipe0 KMSGPIPE_GET_STATS
# Now watch one message from the inside. The driver has tracepoints: turn them on.
sudo sh -c 'echo 1 > /sys/kernel/tracing/events/kmsgpipe/enable'
# A reader in the background finds nothing and sleeps in the kernel. One write wakes it.
head -n 1 /dev/kmsgpipe0 &
echo "wake up" > /dev/kmsgpipe0
wait
# A message that nobody reads expires. Each control is an ioctl and a file in sysfs:
sudo ioctl /dev/kmsgpipe0 KMSGPIPE_SET_CLEANUP ttl_ms=200 interval_ms=100
cat /sys/class/kmsgpipe/kmsgpipe0/ttl_ms
echo "nobody reads me" > /dev/kmsgpipe0
sleep 1
cat /sys/class/kmsgpipe/kmsgpipe0/expired
# This is what the kernel saw: sleep, enqueue, wake, dequeue; then enqueue, and expire.
sudo grep -o "kmsgpipe_.*" /sys/kernel/tracing/trace
# The driver tells the kernel log what was done to it, but never what a message says.
dmesg | tail -n 6
# In the end every message is accounted for: written = read + cleared + expired + queued.
ioctl /dev/kmsgpipe0 KMSGPIPE_GET_STATS
