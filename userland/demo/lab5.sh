# Load the driver. Twice a second it drops messages that waited for more than a second.
sudo insmod kmsgpipe_workqueue.ko ttl_ms=1000 cleanup_interval_ms=500
ioctl /dev/kmsgpipe0 KMSGPIPE_GET_CLEANUP
echo "who reads me?" > /dev/kmsgpipe0
echo "and me?" > /dev/kmsgpipe0
# Both are queued now. Nobody reads; let two seconds pass.
ioctl /dev/kmsgpipe0 KMSGPIPE_GET_STATS
sleep 2
# They have expired.
ioctl /dev/kmsgpipe0 KMSGPIPE_GET_STATS
# The administrator may turn that off: a ttl of 0 means that messages wait for ever.
sudo ioctl /dev/kmsgpipe0 KMSGPIPE_SET_CLEANUP ttl_ms=0
echo "I stay" > /dev/kmsgpipe0
sleep 2
head -n 1 /dev/kmsgpipe0
# Unload it: first the timer goes, then the work, then the memory.
sudo rmmod kmsgpipe_workqueue
dmesg | tail -n 14
