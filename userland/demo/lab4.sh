# Load the driver with room for three messages, and queue two.
sudo insmod kmsgpipe_ioctl.ko max_msgs=3
echo "msg1" > /dev/kmsgpipe0
echo "msg2" > /dev/kmsgpipe0
# Beside the messages there is a second way to talk to the device now: ioctl(). Anyone
# may ask how things stand,
ioctl /dev/kmsgpipe0 KMSGPIPE_GET_STATS
# or look at a message without taking it. The first one has the number 0.
ioctl /dev/kmsgpipe0 KMSGPIPE_PEEK index=1
# Dropping what others wrote is for the administrator only.
! ioctl /dev/kmsgpipe0 KMSGPIPE_CLEAR_QUEUE
sudo ioctl /dev/kmsgpipe0 KMSGPIPE_CLEAR_QUEUE
# So are the limits.
sudo ioctl /dev/kmsgpipe0 KMSGPIPE_SET_LIMITS msg_size=8
! echo "longer than eight bytes" > /dev/kmsgpipe0
ioctl /dev/kmsgpipe0 KMSGPIPE_GET_STATS
# A number that is no command gets ENOTTY, an old name for "this device does not do that".
! ioctl /dev/kmsgpipe0 0xe963
# Unload it. The log has a line for each command, also for those that were refused.
sudo rmmod kmsgpipe_ioctl
dmesg | tail -n 30 | grep -vE "open|release"
