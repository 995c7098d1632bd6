# shellcheck shell=bash disable=SC2086,SC2154  # DEVICE, BLOCK and the settings come from lib.sh and the run
# Four connections: xfs on the whole disk, and requests that spread over all connections.

# A fresh start, whatever an earlier part left: the trimmed disk must be empty.
xfs_attach_and_trim() {
  attach "$EXPORT" 4 512 && blkdiscard -f $DEVICE && cmp -n $((16 << 20)) $DEVICE /dev/zero && ! blkid -p $DEVICE
}
xfs_mkfs_and_files() { mkfs.xfs -q -f $DEVICE && mount -t xfs $DEVICE /mnt && make_files /mnt; }
xfs_reattach() { detach && attach "$EXPORT" 4 512; }
xfs_verify() { mount -t xfs -o discard $DEVICE /mnt && check_files /mnt && rm -r /mnt/tree && umount /mnt; }

part_xfs() {
  step attach-4-connections xfs_attach_and_trim || return
  step device-4-connections check_device "$EXPORT_BYTES" 512 4
  step xfs-files xfs_mkfs_and_files || return
  step xfs-fio-io_uring fio_verify /mnt/fio io_uring 16m
  step xfs-fstrim trim_mounted /mnt
  step xfs-unmount umount /mnt
  step xfs-repair xfs_repair -n $DEVICE
  step xfs-reattach xfs_reattach || return
  step xfs-verify xfs_verify
  step xfs-repair-again xfs_repair -n $DEVICE
  # two jobs on ranges of their own keep all connections busy
  step raw-fio-4-connections fio_verify $DEVICE libaio 8m --numjobs=2 --offset_increment=512m
  step detach-4-connections detach
}
