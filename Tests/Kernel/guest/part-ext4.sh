# shellcheck shell=bash disable=SC2086,SC2154  # DEVICE, BLOCK and the settings come from lib.sh and the run
# One connection: a partitioned disk with ext4 on one partition, raw I/O on the other, and an orderly restart of the server in between.

ext4_attach() { attach "$EXPORT" 1 512; }

# Never-written space reads as zeros.
reads_zero() { cmp -n $((16 << 20)) $DEVICE /dev/zero; }

# 6.1 keeps the partitions' nodes after a detach, so what proves the scan is the kernel's own line about it, once more than before.
partition_scans() { dmesg | grep -c ' nbd0: p1 p2$'; }
scanned_again() { [ "$(partition_scans)" -gt "$1" ]; }

make_partitions() {
  local before
  before=$(partition_scans)
  sgdisk -Z $DEVICE
  sgdisk -n 1:2048:+400M -n 2:0:+300M $DEVICE && blockdev --rereadpt $DEVICE && wait_until scanned_again "$before" &&
    wait_until exists ${DEVICE}p2 && sgdisk -v $DEVICE
}

# The server forgets everything it holds in memory: what comes back afterwards was on its disks.
ext4_reattach_after_restart() {
  local before
  before=$(partition_scans)
  detach && host server-restart && ext4_attach && wait_until scanned_again "$before" && wait_until exists ${DEVICE}p2
}

# O_DSYNC becomes FUA where the server offers it, fsync becomes FLUSH; the kernel's own counters say that flushes were sent.
flush_and_fua() {
  local before after
  before=$(awk '{ print $16 }' $BLOCK/stat)
  xfs_io -d -c 'pwrite -S 0xa5 -b 64k 0 4m' -c fsync ${DEVICE}p2 &&
    dd if=/dev/urandom of=/run/random bs=4k count=64 status=none &&
    dd if=/run/random of=${DEVICE}p2 bs=4k oflag=direct,dsync conv=notrunc status=none &&
    dd if=${DEVICE}p2 bs=4k count=64 iflag=direct status=none | cmp - /run/random || return 1
  after=$(awk '{ print $16 }' $BLOCK/stat)
  echo "flushes: $before before, $after after"
  [ "$after" -gt "$before" ]
}

# zeroed_ranges OPTION: ranges zeroed or trimmed at odd sectors, compared byte by byte with a model of the partition's first 8 MiB
zeroed_ranges() {
  local range first count
  dd if=/dev/urandom of=/run/model bs=1M count=8 status=none
  dd if=/run/model of=${DEVICE}p2 bs=1M oflag=direct conv=notrunc status=none || return 1
  # in 512-byte sectors: one sector; across a 64 KiB border; MiBs with ragged ends; aligned
  for range in 3:1 120:16 2049:5555 12288:2048; do
    first=${range%:*} count=${range#*:}
    # shellcheck disable=SC2086  # OPTION may be empty
    blkdiscard $1 -o $((first * 512)) -l $((count * 512)) ${DEVICE}p2 || return 1
    dd if=/dev/zero of=/run/model bs=512 seek="$first" count="$count" conv=notrunc status=none
  done
  echo 3 > /proc/sys/vm/drop_caches
  dd if=${DEVICE}p2 bs=1M count=8 iflag=direct status=none | cmp - /run/model
}

ext4_mkfs_and_files() {
  mkfs.ext4 -q -F ${DEVICE}p1 && mount -t ext4 ${DEVICE}p1 /mnt && make_files /mnt
}
ext4_fsck() { e2fsck -f -n ${DEVICE}p1; }
# the discard option trims as files are deleted
ext4_verify_and_delete() {
  mount -t ext4 -o discard ${DEVICE}p1 /mnt && check_files /mnt && rm /mnt/big && sed -i '/ \.\/big$/d' /run/checksums &&
    sync -f /mnt/sparse && echo 3 > /proc/sys/vm/drop_caches && check_files /mnt && umount /mnt
}

part_ext4() {
  step attach-1-connection ext4_attach || return
  step device-1-connection check_device "$EXPORT_BYTES" 512 1
  step fresh-reads-zero reads_zero
  step partition make_partitions || return
  step ext4-files ext4_mkfs_and_files || return
  step ext4-fstrim trim_mounted /mnt
  step ext4-unmount umount /mnt
  step ext4-fsck ext4_fsck
  step ext4-restart-reattach ext4_reattach_after_restart || return
  step ext4-verify-discard ext4_verify_and_delete
  step ext4-fsck-again ext4_fsck
  step raw-fio-libaio fio_verify ${DEVICE}p2 libaio 16m
  step raw-flush-fua flush_and_fua
  step raw-write-zeroes zeroed_ranges -z
  step raw-trim zeroed_ranges ''
  step detach-1-connection detach
}
