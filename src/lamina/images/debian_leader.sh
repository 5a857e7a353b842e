#!/bin/dash
# The session's leader in the guest that `lamina run debian` boots: started by debian_init.sh on the
# console's terminal. It runs /lamina/command, or a login shell, and hands the exit status to the
# host. It never ends before the machine does: the end of a leader hangs its terminal up, and that
# throws away output which is still on its way.
trap : INT QUIT
if [ -n "$READY" ]; then
    printf "$READY"
fi

cd /root
if [ -r /lamina/command ]; then
    (unset READY; exec dash /lamina/command)
else
    (unset READY; exec bash -l)
fi
status=$?

# The test finisher takes 0x5555 for success, or 0x3333 with a status in the high half.
busybox sync
busybox stty onlcr # waits until all output is out
for node in /sys/firmware/devicetree/base/soc/test@*; do
    if [ "$status" -eq 0 ]; then
        busybox devmem "0x${node##*@}" 32 0x5555
    else
        busybox devmem "0x${node##*@}" 32 $((status << 16 | 0x3333))
    fi
done
exec busybox poweroff -f
