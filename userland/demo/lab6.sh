# Load the driver. Each control and each counter is a file now.
sudo insmod kmsgpipe_sysfs.ko
cd /sys/class/kmsgpipe/kmsgpipe0
ls -l max_msgs ttl_ms clear_queue queued
echo "msg1" > /dev/kmsgpipe0
echo "msg2" > /dev/kmsgpipe0
cat written queued max_msgs
# To set one takes the administrator, as with ioctl().
! echo 8 > max_msgs
sudo sh -c 'echo 8 > max_msgs'
# Both ways lead to the same place.
ioctl /dev/kmsgpipe0 KMSGPIPE_GET_STATS
sudo ioctl /dev/kmsgpipe0 KMSGPIPE_SET_LIMITS max_msgs=16
cat max_msgs
# What makes no sense is refused and changes nothing.
! sudo sh -c 'echo many > max_msgs'
! sudo sh -c 'echo 0 > max_msgs'
sudo sh -c 'echo 1 > clear_queue'
cat queued cleared
# Unload it.
cd
sudo rmmod kmsgpipe_sysfs
dmesg | tail -n 14
