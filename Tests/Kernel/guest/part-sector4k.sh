# shellcheck shell=bash disable=SC2086,SC2154  # DEVICE, BLOCK and the settings come from lib.sh and the run
# A virtual disk with 4096-byte logical sectors.

sector4k_attach() { attach "$EXPORT_4K" 2 4096; }
sector4k_mkfs_and_files() {
  blkdiscard -f $DEVICE && mkfs_xfs_small_log | tee /dev/stderr | grep -q 'sectsz=4096' && mount -t xfs $DEVICE /mnt && make_files /mnt
}
sector4k_check() { mount -t xfs $DEVICE /mnt && check_files /mnt && umount /mnt && xfs_repair -n $DEVICE; }
sector4k_reattach() { detach && sector4k_attach; }

part_sector4k() {
  step sector4k-attach sector4k_attach || return
  step sector4k-device check_device "$EXPORT_4K_BYTES" 4096 2
  step sector4k-xfs-files sector4k_mkfs_and_files || return
  step sector4k-fio fio_verify /mnt/fio libaio 8m
  step sector4k-fstrim trim_mounted /mnt
  step sector4k-unmount umount /mnt
  step sector4k-reattach sector4k_reattach || return
  step sector4k-verify sector4k_check
  step sector4k-detach detach
}
