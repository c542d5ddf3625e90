# Load the driver with room for two messages.
sudo insmod kmsgpipe_wait.ko max_msgs=2
# The commands of lab 2: two messages in, the same two out.
echo "msg1" > /dev/kmsgpipe0
echo "msg2" > /dev/kmsgpipe0
# Now the queue is full. A writer that must not sleep gets EAGAIN ...
! nonblock echo "msg3" > /dev/kmsgpipe0
# ... and one that may sleeps in write(), until Ctrl-C.
echo "msg3" > /dev/kmsgpipe0
^C
# cat takes both messages. Where lab 2 ended here, this cat sleeps in read() and
# waits for more, until Ctrl-C.
cat /dev/kmsgpipe0
^C
# A reader that must not sleep gets EAGAIN.
! nonblock cat < /dev/kmsgpipe0
# A reader in the background sleeps; one write wakes it.
head -n 1 /dev/kmsgpipe0 &
echo "wake up" > /dev/kmsgpipe0
wait
# Unload it.
sudo rmmod kmsgpipe_wait
dmesg | tail
