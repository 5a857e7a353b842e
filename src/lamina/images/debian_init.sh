#!/bin/dash
# The first process of the guest that `lamina run debian` boots. It readies the system and starts the
# session (debian_leader.sh). An archive that follows the initrd may bring two files:
# /lamina/command is run in the place of a login shell, and
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

# The console's terminal itself: only it, not /dev/console, can control a session. It stays open, so
# that nobody's close shuts the UART down with output in it.
read -r consoles < /sys/class/tty/console/active
terminal=/dev/${consoles##* }
exec 3<> "$terminal"

ROWS='' COLUMNS='' RAW_INPUT='' RAW_OUTPUT='' READY=''
if [ -r /lamina/session ]; then
    . /lamina/session
fi
export READY
if [ -n "$ROWS" ] && [ -n "$COLUMNS" ]; then
    busybox stty rows "$ROWS" columns "$COLUMNS" <&3
fi
if [ -n "$RAW_INPUT" ]; then
    busybox stty -echo <&3
fi
if [ -n "$RAW_OUTPUT" ]; then
    busybox stty -onlcr <&3
fi

# What busybox's halt, poweroff and reboot send to the first process.
trap 'busybox poweroff -f' USR1 USR2
trap 'busybox reboot -f' TERM

# In the background, so that the signals above are served while it runs; a shell starts such a
# command with the keyboard's signals ignored, hence env.
env --default-signal=INT,QUIT setsid -c dash /lamina/leader <&3 >&3 2>&1 3>&- &
wait $!
busybox poweroff -f
