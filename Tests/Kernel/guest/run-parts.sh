#!/bin/busybox sh
# Runs /test/main.sh, hands /out back to the host, powers off.
export PATH=/usr/local/bin:/usr/sbin:/usr/bin HOME=/root TERM=dumb
exec </dev/null >/dev/console 2>&1
. /test/env
# a request that is never answered must end in a complaint that the steps see, well before the time limit
echo 60 > /proc/sys/kernel/hung_task_timeout_secs
cd /root
# by its path: the shell would take busybox's own timeout, which does not say 124
/usr/bin/timeout -k 5 "$LIMIT" bash /test/main.sh
rc=$?
if [ $rc = 124 ] || [ $rc = 137 ]; then
  echo "guest: time limit of $LIMIT s reached in step $(cat /run/step); the blocked tasks are in dmesg.txt"
  echo w > /proc/sysrq-trigger
fi
dmesg > /out/dmesg.txt
for port in /sys/class/virtio-ports/*/name; do
  [ "$(cat "$port")" = out ] && tar -C /out -cf "/dev/$(basename "$(dirname "$port")")" .
done
sync
echo "GUEST-EXIT $rc"
poweroff -f
