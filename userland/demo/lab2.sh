# Load the driver; each parameter could be set here, as in max_msgs=8.
sudo insmod kmsgpipe_buffered.ko
# The lab plan's own commands: two messages are written before anybody reads.
echo "msg1" > /dev/kmsgpipe0
echo "msg2" > /dev/kmsgpipe0
# They come back in the order in which they were written. cat reads until the queue
# is empty, which this lab reports as the end of the file.
cat /dev/kmsgpipe0
# Unload it, with a message still in the queue: its memory is given back.
echo "nobody reads me" > /dev/kmsgpipe0
sudo rmmod kmsgpipe_buffered
dmesg | tail
