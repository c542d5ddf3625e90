# The lab plan's own commands. First, load the driver: the kernel runs its init
# function, and /dev/kmsgpipe0 appears.
sudo insmod kmsgpipe_basic.ko
# The device echoes what is written to it. This needs no sudo.
echo "test123" > /dev/kmsgpipe0
cat /dev/kmsgpipe0
# Unload it. The node goes with it.
sudo rmmod kmsgpipe_basic
# The driver has told the kernel log about each call.
dmesg | tail
