#!/bin/dash
# The first process of the guest that `lamina run debian` boots. It readies the system, then runs
# either /lamina/command (put there by an archive that follows the initrd) or a login shell, and
# hands that program's exit status to the host through the test finisher.
# /lamina/session may export variables and set ROWS, COLUMNS, RAW_INPUT, RAW_OUTPUT and READY.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=vt102
umask 022
cd /

busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
busybox mkdir -p /dev/pts /dev/shm
busybox mount -t devpts devpts /dev/pts
busybox mount -t tmpfs tmpfs /run
read -r name < /etc/hostname
echo "$name" > /proc/sys/kernel/hostname
# Loading waits for the kernel far more than it works: only a virtio console is worth the wait.
load_modules() {
    for module in /lamina/*.ko; do
        busybox insmod "$module"
    done
}
read -r arguments < /proc/cmdline
case $arguments in
    *console=hvc*) load_modules ;;
    *) load_modules & ;;
esac

# The finisher takes 0x5555 for success, or a status above 0x3333 in the low half.
finish() {
    busybox sync
    busybox stty onlcr < "$terminal" # waits until all output is out
    for node in /sys/firmware/devicetree/base/soc/test@*; do
        if [ "$1" -eq 0 ]; then
            busybox devmem "0x${node##*@}" 32 0x5555
        else
            busybox devmem "0x${node##*@}" 32 $(($1 << 16 | 0x3333))
        fi
    done
    busybox poweroff -f
}

# The console's terminal itself: only it, not /dev/console, can control a session.
read -r consoles < /sys/class/tty/console/active
terminal=/dev/${consoles##* }

ROWS='' COLUMNS='' RAW_INPUT='' RAW_OUTPUT='' READY=''
if [ -r /lamina/session ]; then
    . /lamina/session
fi
if [ -n "$ROWS" ] && [ -n "$COLUMNS" ]; then
    busybox stty rows "$ROWS" columns "$COLUMNS" < "$terminal"
fi
if [ -n "$RAW_INPUT" ]; then
    busybox stty -echo < "$terminal"
fi
if [ -n "$RAW_OUTPUT" ]; then
    busybox stty -onlcr < "$terminal"
fi

# What busybox's halt, poweroff and reboot send to the first process.
trap 'busybox poweroff -f' USR1 USR2
trap 'busybox reboot -f' TERM

if [ -n "$READY" ]; then
    printf "$READY" > "$terminal"
fi

# In the background, so that signals above are served while it runs; a shell starts such a command
# with the keyboard's signals ignored, hence env.
cd /root
if [ -r /lamina/command ]; then
    set -- dash /lamina/command
else
    set -- bash -l
fi
env --default-signal=INT,QUIT setsid -c "$@" < "$terminal" > "$terminal" 2>&1 &
wait $!
finish $?
