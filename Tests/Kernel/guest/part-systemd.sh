# shellcheck shell=bash disable=SC2086,SC2154  # INNER comes from inner-server.sh
# The units of `make install`. This part has a boot of its own, in which systemd is process 1, with udev: see lib/pack-systemd.sh.
UNIT=spaceport-attach@demo-e-1.service
served() { timeout -k 20 120 /usr/local/bin/spaceport "$@"; }
is_served() { served pool list; }
server_process() { systemctl show -p MainPID --value spaceport.service; }
mounted_device() { awk '$2 == "/mnt/e" { print $1 }' /proc/mounts; }

systemd_server() {
  inner_disks && systemctl start spaceport.service && wait_for 30 is_served &&
    served pool create demo $INNER/disk-a.img $INNER/disk-b.img $INNER/disk-c.img
}
# The line that is printed goes into /etc/fstab as it is.
systemd_volume() {
  served volume create demo/e --fs ext4 --size 256MiB > /run/created && cat /run/created || return
  sed -n 's|^In /etc/fstab: *||p' /run/created > /etc/fstab
  grep -q 'x-systemd.requires' /etc/fstab && served volume detach demo/e/1 && systemctl daemon-reload && systemctl stop spaceport.service &&
    [ -z "$(server_process | grep -v '^0$')" ]
}
# As at boot: the mount starts what attaches, which starts the server.
systemd_mount() {
  systemctl start mnt-e.mount || { systemctl status --no-pager mnt-e.mount $UNIT spaceport.service; return 1; }
  mounted_device && systemctl is-active mnt-e.mount $UNIT spaceport.service && make_files /mnt/e
}

# survives COMMAND...: the server is ended by it while there is much to be written; afterwards it is another, and nothing else has changed.
has_another_server() { local now; now=$(server_process); [ "$now" != 0 ] && [ "$now" != "$1" ] && is_served; }
survives() {
  local before device
  before=$(server_process) device=$(mounted_device)
  dd if=/dev/urandom of=/mnt/e/unwritten bs=1M count=30 status=none && sha256sum /mnt/e/unwritten > /run/unwritten || return
  grep '^Dirty:' /proc/meminfo
  "$@" && wait_for 60 has_another_server $before || { systemctl status --no-pager spaceport.service; return 1; }
  timeout 100 sync -f /mnt/e/unwritten || { echo "not written"; systemctl status --no-pager $UNIT; return 1; }
  [ "$(mounted_device)" = "$device" ] && systemctl is-active mnt-e.mount $UNIT spaceport.service || return
  echo 3 > /proc/sys/vm/drop_caches
  sha256sum -c /run/unwritten && check_files /mnt/e && rm /mnt/e/unwritten && sync -f /mnt/e
}
kill_server() { kill -KILL "$(server_process)"; }
restart_server() { systemctl restart spaceport.service; }
systemd_killed() { survives kill_server; }
systemd_restarted() { survives restart_server; }

# What attaches takes the mount with it, in order.
systemd_detached() {
  local device
  device=$(mounted_device)
  systemctl stop $UNIT && [ -z "$(mounted_device)" ] && [ ! -e /sys/block/$(basename $device)/pid ] && systemctl is-active spaceport.service &&
    device=$(served volume attach demo/e/1) && e2fsck -f -n $device && mount $device /mnt && check_files /mnt && umount /mnt &&
    served volume detach demo/e/1
}

part_systemd() {
  INNER=/srv
  breaking_step systemd-server systemd_server || return
  breaking_step systemd-volume systemd_volume || return
  breaking_step systemd-mount systemd_mount || return
  breaking_step systemd-killed systemd_killed || return
  breaking_step systemd-restarted systemd_restarted || return
  breaking_step systemd-detached systemd_detached
  breaking_step systemd-stop systemctl stop spaceport.service
}
