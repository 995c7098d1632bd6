# shellcheck shell=bash disable=SC2086,SC2154  # DEVICE, BLOCK and the settings come from lib.sh and the run
# The server itself runs on this kernel, in this guest: io_uring and O_DIRECT on Linux 6.1, served over a Unix socket to the same machine.
# The pool's disks lie on a real file system on a real (virtio) disk: tmpfs knows no O_DIRECT.
inner_disks() {
  local letter
  mkdir -p $INNER && mkfs.ext4 -q -F /dev/vda && mount -t ext4 /dev/vda $INNER && mkdir -m 700 $INNER/state || return 1
  for letter in a b c; do truncate -s 1G $INNER/disk-$letter.img; done
}

inner_pool() {
  inner_control pool create demo $INNER/disk-a.img $INNER/disk-b.img $INNER/disk-c.img &&
    inner_control vdisk create demo/inner --size 1GiB
}
# The thread of the data path must not wait for writes that wait for itself when memory is short: PR_SET_IO_FLUSHER, which shows as PF_MEMALLOC_NOIO
# in the thread's flags, field 9 of its stat.
inner_io_flusher() {
  local task
  for task in /proc/"$(cat $INNER/pid)"/task/*; do
    [ "$(cat $task/comm)" = reactor-0 ] || continue
    local flags=$(sed 's/.*) //' $task/stat | cut -d ' ' -f 7)
    printf 'flags of %s: %#x\n' reactor-0 "$flags"
    [ $((flags & 0x80000)) != 0 ]
    return
  done
  echo "there is no thread reactor-0"
  return 1
}
inner_attach() { inner_attach_to 0 demo/inner 4 4; }
inner_ext4_files() { mkfs.ext4 -q -F $DEVICE && mount -t ext4 $DEVICE /mnt && make_files /mnt; }
inner_check() { e2fsck -f -n $DEVICE && mount -t ext4 $DEVICE /mnt && check_files /mnt && umount /mnt; }
inner_reattach() { detach && inner_stop && inner_start && inner_attach; }
# The kernel gives up a ring's files a moment after the process ended.
inner_unmount() { wait_until umount $INNER; }

part_inner() {
  INNER=/srv
  step inner-disks inner_disks || return
  step inner-start inner_start || return
  step inner-io-flusher inner_io_flusher
  step inner-pool inner_pool || return
  step inner-attach inner_attach || return
  step inner-ext4-files inner_ext4_files || return
  step inner-fio fio_verify /mnt/fio libaio 24m
  step inner-fstrim trim_mounted /mnt
  step inner-unmount umount /mnt
  step inner-restart-reattach inner_reattach || return
  step inner-fsck-verify inner_check
  step inner-detach detach
  step inner-stop inner_stop
  step inner-disks-unmount inner_unmount
}
