#!/bin/bash
# Build what all guests have in common (user land, kernel modules, init) as an initramfs that is the guest's whole root.
#
#   make-initramfs.sh KERNEL_DIR CACHE_DIR      prints the archive's path
#
# The archive's name carries a fingerprint of everything that goes into it, so a cached one is never out of date.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=pack.sh
. "$here/pack.sh"
PATH=$PATH:/usr/sbin:/sbin
if [ $# != 2 ]; then
  sed -n '2,6p' "$0" >&2
  exit 2
fi
kernel=$(realpath "$1")
cache=$2

programs=(bash busybox kmod nbd-client mkfs.ext4 e2fsck dumpe2fs mkfs.xfs xfs_repair xfs_io xfs_growfs resize2fs mkfs.btrfs btrfs mkswap swapon swapoff fio sgdisk sfdisk parted
  blkid blkdiscard blockdev lsblk fstrim wipefs dd sync truncate timeout stat sha256sum sort cmp mount umount dmsetup)
modules=(virtio_pci virtio_net virtio_console virtio_blk virtio_rng nbd ext4 xfs btrfs crc32c_generic crc32c_intel libcrc32c
  dm_mod dm_flakey dm_delay dm_log_writes)

fingerprint=$({
  cat "$here/make-initramfs.sh" "$here/pack.sh" "$here/../guest/init" "$kernel/release"
  for program in "${programs[@]}"; do stat -Lc '%n %s %Y' "$(command -v "$program")"; done
} | sha256sum | cut -c1-16)
archive=$cache/base-$fingerprint.cpio
if [ -s "$archive" ]; then
  echo "$archive"
  exit 0
fi

root=$(mktemp -d)
trap 'rm -rf "$root" "$archive.$$"' EXIT
mkdir -p "$root"/usr/{bin,sbin,lib,lib64} "$root"/{proc,sys,dev,run,tmp,etc,mnt,root,test,out,var}
ln -s usr/bin usr/sbin usr/lib usr/lib64 "$root/"
ln -s /run "$root/var/run"
ln -s /tmp "$root/var/tmp"
for program in "${programs[@]}"; do pack_program "$root" "$program"; done
for name in modprobe insmod rmmod lsmod; do ln -s kmod "$root/usr/bin/$name"; done
# where the kernel itself looks for it
ln -sf /usr/bin/kmod "$root/usr/sbin/modprobe"
for name in $(busybox --list); do
  [ -e "$root/usr/bin/$name" ] || [ -e "$root/usr/sbin/$name" ] || ln -s busybox "$root/usr/bin/$name"
done
printf 'root:x:0:0:root:/root:/bin/bash\n' > "$root/etc/passwd"
printf 'root:x:0:\n' > "$root/etc/group"
printf '127.0.0.1 localhost\n10.0.2.2 host\n' > "$root/etc/hosts"
cp /etc/mke2fs.conf "$root/etc/"
install -m 755 "$here/../guest/init" "$root/init"
pack_modules "$root" "$kernel" "${modules[@]}"

mkdir -p "$cache"
rm -f "$cache"/base-*.cpio
make_cpio "$root" > "$archive.$$"
mv "$archive.$$" "$archive"
echo "$archive"
