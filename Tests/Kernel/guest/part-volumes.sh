# shellcheck shell=bash disable=SC2086,SC2154  # DEVICE, BLOCK and the settings come from lib.sh and the run
# Volumes: the server and the kernel's NBD client on one machine. A whole virtual disk and a partition of it attached side by side, tables by
# others' tools; then `spaceport volume`, which attaches by itself.
volume() { inner_control volume "$@"; }

volumes_pool() {
  inner_control pool create demo $INNER/disk-a.img $INNER/disk-b.img $INNER/disk-c.img &&
    inner_control vdisk create demo/parts --size 400MiB --columns 2 --interleave 64KiB
}

# What the kernel has for a partition of nbd0, in sectors: number, start, last
kernel_partitions() {
  local directory start size
  for directory in $BLOCK/nbd0p*; do
    [ -e "$directory/partition" ] || continue
    start=$(cat "$directory/start") size=$(cat "$directory/size")
    echo "$(cat "$directory/partition") $start $((start + size - 1))"
  done | sort -n
}
our_partitions() { inner_control partition list demo/parts | awk '$1 ~ /^[0-9]+$/ { print $1, $2, $3 }' | sort -n; }
partitions_agree() {
  [ "$(our_partitions)" = "$(kernel_partitions)" ] && [ "$(our_partitions | wc -l)" = "$1" ] && return
  echo "ours:"; our_partitions; echo "the kernel's:"; kernel_partitions
  return 1
}

# reread COUNT: has the kernel read the table again, until it has so many partitions
has_partitions() { [ "$(kernel_partitions | wc -l)" = "$1" ]; }
reread() { blockdev --rereadpt $DEVICE && wait_until has_partitions "$1"; }

volumes_sgdisk() { sgdisk -o -n 1:0:+150M -n 2:0:+200M -c 2:second $DEVICE && reread 2 && partitions_agree 2; }
volumes_sfdisk() {
  printf 'label: gpt\nsize=100MiB\nsize=30MiB\nsize=200MiB\n' | sfdisk -q --wipe always $DEVICE && reread 3 && partitions_agree 3
}
volumes_parted() {
  parted -s $DEVICE mklabel gpt mkpart first 1MiB 160MiB mkpart second 160MiB 390MiB && reread 2 && partitions_agree 2
}
volumes_ours() {
  inner_control partition init demo/parts --yes && inner_control partition create demo/parts --size 150MiB --label first &&
    inner_control partition create demo/parts --size 100% --label second && reread 2 && partitions_agree 2
}

# The first partition through the whole disk, the second by an export of its own, at the same time.
volumes_side_by_side() {
  inner_attach_to 1 demo/parts/2 2 4 || return
  [ "$(blockdev --getsize64 /dev/nbd1)" = "$(blockdev --getsize64 ${DEVICE}p2)" ] || { echo "sizes differ"; return 1; }
  mkdir -p /mnt1 /mnt2
  mkfs.ext4 -q -F ${DEVICE}p1 && mount -t ext4 ${DEVICE}p1 /mnt1 && make_files /mnt1 && cp /run/checksums /run/checksums1 &&
    DEVICE=/dev/nbd1 mkfs_xfs_small_log && mount -t xfs /dev/nbd1 /mnt2 && make_files /mnt2 && cp /run/checksums /run/checksums2
}
# nbd-client says nothing of what it attaches: its process does
volumes_list_nbd_client() {
  volume list > /run/list || return
  cat /run/list
  grep -E '^demo/parts/1 +ext4 .* /dev/nbd0p1 +/mnt1 ' /run/list && grep -E '^demo/parts/2 +xfs .*/dev/nbd1.* +/mnt2 ' /run/list
}
volumes_check_side_by_side() {
  (cd /mnt1 && sha256sum -c --quiet /run/checksums1) && (cd /mnt2 && sha256sum -c --quiet /run/checksums2) &&
    umount /mnt1 && umount /mnt2 && e2fsck -f -n ${DEVICE}p1 && xfs_repair -n /dev/nbd1
}

# make_volume NAME KIND SIZE: with our own attaching; the device it was given is written to /run/NAME
make_volume() {
  volume create demo/$1 --fs $2 --size $3 --label vol-$1 --columns 2 --interleave 64KiB > /run/created || return 1
  cat /run/created
  awk '$1 == "Device:" { print $2 }' /run/created > /run/$1
  [ -b "$(cat /run/$1)" ] && cat "/sys/block/$(basename "$(cat /run/$1)")/backend"
}
volumes_create_ext4() {
  make_volume e ext4 256MiB && mount "$(cat /run/e)" /mnt1 && make_files /mnt1 && cp /run/checksums /run/checksums1 || return
  # stripes as the virtual disk's: 64 KiB and two of them, in blocks of 4 KiB
  dumpe2fs -h "$(cat /run/e)" 2>/dev/null | grep -E 'RAID str' | tee /run/stripe
  grep -q 'stride: *16$' /run/stripe && grep -q 'stripe width: *32$' /run/stripe && blkid -p "$(cat /run/e)" | grep -q vol-e
}
volumes_create_xfs() {
  make_volume x xfs 320MiB && mount "$(cat /run/x)" /mnt2 && make_files /mnt2 && cp /run/checksums /run/checksums2 || return
  xfs_growfs -n /mnt2 | tee /run/info | grep -q 'sunit=16 *swidth=32 blks'
}
volumes_list_ours() {
  volume list demo > /run/list || return
  cat /run/list
  grep -E "^demo/e/1 +ext4 +vol-e .* $(cat /run/e) +/mnt1 " /run/list && grep -E "^demo/x/1 +xfs +vol-x .* $(cat /run/x) +/mnt2 " /run/list
}
# where it is attached already, it says so and changes nothing
volumes_attach_again() { [ "$(volume attach demo/e/1)" = "$(cat /run/e)" ] && check_volume_files; }
check_volume_files() { (cd /mnt1 && sha256sum -c --quiet /run/checksums1) && (cd /mnt2 && sha256sum -c --quiet /run/checksums2); }

# refused COMMAND...: it fails and says WORDS
refused() {
  local words=$1
  shift
  echo "-> $*"
  if "$@" > /run/refused 2>&1; then echo "not refused: $*"; return 1; fi
  cat /run/refused
  grep -q -- "$words" /run/refused
}
volumes_refusals() {
  refused 'mounted at /mnt1' volume detach demo/e/1 && refused 'mounted at /mnt2' volume delete demo/x --yes &&
    refused '--yes' volume delete demo/e && refused 'do not shrink' volume resize demo/e --size 100MiB && check_volume_files
}

# grows MOUNT NAME SIZE: the mounted file system has more room. Meanwhile fio writes there and compares, not as fast as it could: the kernel's
# queue is frozen for the new size, with requests in it, and must go on. fio is at work before and after.
load_bytes() {
  local status
  for status in /proc/[0-9]*/status; do
    grep -qs '^Name:.*fio$' $status && sed -n 's/^write_bytes: //p' ${status%status}io
  done | awk '{ sum += $1 } END { printf "%d\n", sum }'
}
load_goes_on() { [ "$(load_bytes)" -gt "$1" ]; }
grows() {
  local before after load written
  before=$(stat -f -c '%b' $1)
  rm -f /run/load-stop $1/load
  fio_verify $1/load libaio 8m --time_based --runtime=110 --rate_iops=150 --verify_backlog=64 --verify_state_save=0 --trigger-file=/run/load-stop \
    > /run/load 2>&1 & load=$!
  wait_for 30 load_goes_on $((1 << 20)) && written=$(load_bytes) && volume resize demo/$2 --size $3 && echo "fio had written $written bytes before" &&
    written=$(load_bytes) && wait_for 30 load_goes_on $((written + (1 << 20))) && echo "and $(load_bytes) after" && touch /run/load-stop ||
    { kill $load; cat /run/load; return 1; }
  wait $load || { echo "fio failed:"; tail -20 /run/load; return 1; }
  rm $1/load
  after=$(stat -f -c '%b' $1)
  echo "blocks: $before before, $after after"
  [ "$after" -gt $((before + 40000)) ]
}
# fills MOUNT MIB, then compares MOUNT MIB: it holds what it held, and takes a file that had not fitted before. That is ten random MiB again and again:
# to make or hash as many takes an emulated machine minutes.
repeated() { local i; for i in $(seq $1); do cat /run/random; done; }
fills() {
  check_volume_files && dd if=/dev/urandom of=/run/random bs=1M count=10 status=none && repeated $(($2 / 10)) > $1/filled && sync -f $1/filled
}
# Every third piece from the last one down: to read all of it takes a busy machine longer than a step may.
compares() {
  local piece bytes=$((10 << 20))
  echo 3 > /proc/sys/vm/drop_caches
  [ "$(stat -c %s $1/filled)" = $(($2 / 10 * bytes)) ] || return
  for ((piece = $2 / 10 - 1; piece >= 0; piece -= 3)); do cmp -n $bytes -i 0:$((piece * bytes)) /run/random $1/filled || return; done
}
volumes_grow_ext4() { grows /mnt1 e 512MiB; }
volumes_fill_ext4() { fills /mnt1 260; }
volumes_compare_ext4() { compares /mnt1 260; }
volumes_grow_xfs() { grows /mnt2 x 640MiB; }
volumes_fill_xfs() { fills /mnt2 330; }
volumes_compare_xfs() { compares /mnt2 330; }

# The server goes away under mounted volumes and comes back; attaching again gives the devices new connections.
volumes_restart() {
  inner_kill
  dd if=/dev/zero of=/mnt1/while-away bs=64k count=1 conv=fsync status=none & local writer=$!
  inner_start && volume attach demo/e/1 && volume attach demo/x/1 && wait $writer && rm /mnt1/while-away && check_volume_files
}
volumes_unmount() {
  sync && umount /mnt1 && umount /mnt2 && e2fsck -f -n "$(cat /run/e)" && xfs_repair -n "$(cat /run/x)"
}
volumes_detach() {
  local name=/sys/block/$(basename "$(cat /run/e)")
  volume detach demo/e/1 && [ ! -e $name/pid ] && [ "$(cat $name/size)" = 0 ] && refused 'is not attached' volume detach demo/e/1 &&
    volume attach demo/e/1 > /run/e && mount "$(cat /run/e)" /mnt1 && (cd /mnt1 && sha256sum -c --quiet /run/checksums1) && umount /mnt1
}

# The whole virtual disk attached, and its partition mounted: the kernel is told of the partition's new end, too.
volumes_grow_partition() {
  local device name
  volume detach demo/e/1 && device=$(volume attach demo/e) && name=$(basename $device) && mount ${device}p1 /mnt1 || return
  volume list demo > /run/list && cat /run/list && grep -E "^demo/e/1 .* ${device}p1 +/mnt1 " /run/list || return
  refused 'mounted at /mnt1' volume detach demo/e && local before=$(stat -f -c '%b' /mnt1) && volume resize demo/e --size 640MiB || return
  local sectors=$(inner_control partition list demo/e | awk '$1 == 1 { print $3 - $2 + 1 }')
  echo "partition 1: $sectors sectors, the kernel's: $(cat /sys/block/$name/${name}p1/size)"
  [ "$(cat /sys/block/$name/${name}p1/size)" = "$sectors" ] && [ "$(cat /sys/block/$name/size)" = $((640 * 2048)) ] &&
    [ "$(stat -f -c '%b' /mnt1)" -gt $((before + 25000)) ] && (cd /mnt1 && sha256sum -c --quiet /run/checksums1) && umount /mnt1 &&
    e2fsck -f -n ${device}p1 && volume detach demo/e && volume attach demo/e/1 > /run/e
}
# Unmounted: checked, then grown
volumes_grow_unmounted() {
  volume resize demo/e --size 704MiB && e2fsck -f -n "$(cat /run/e)" && mount "$(cat /run/e)" /mnt1 &&
    [ "$(stat -f -c '%b' /mnt1)" -gt 158000 ] && (cd /mnt1 && sha256sum -c --quiet /run/checksums1) && umount /mnt1
}

volumes_btrfs() {
  local before
  make_volume b btrfs 256MiB && mount -t btrfs "$(cat /run/b)" /mnt1 && make_files /mnt1 && before=$(stat -f -c '%b' /mnt1) || return
  volume list demo > /run/list && cat /run/list && grep -E "^demo/b/1 +btrfs +vol-b .* $(cat /run/b) +/mnt1 " /run/list &&
    volume resize demo/b --size 384MiB && [ "$(stat -f -c '%b' /mnt1)" -gt $((before + 25000)) ] && check_files /mnt1 &&
    umount /mnt1 && btrfs check --readonly "$(cat /run/b)" && volume delete demo/b --yes
}

# Whoever else uses a device keeps it: swap, device-mapper (LVM and the like), and a program that has it open.
volumes_users() {
  local device
  inner_control vdisk create demo/s --size 64MiB && device=$(volume attach demo/s) && mkswap $device && swapon $device || return
  refused 'is in use' volume detach demo/s || return
  swapoff $device && dm create user --table "0 1000 linear $device 0" && refused 'is in use' volume detach demo/s || return
  dm remove user
  sleep 100 < $device & local holder=$!
  refused "is open in process $holder" volume detach demo/s || return
  refused "is open in process $holder" volume delete demo/s --yes || return
  kill $holder
  wait $holder
  volume detach demo/s && inner_control vdisk delete demo/s --yes
}

# A server that is reached by TCP alone
volumes_tcp() {
  volume detach demo/e/1 && volume detach demo/x/1 && inner_stop && INNER_LISTEN=tcp:127.0.0.1:10900 inner_start || return
  volume attach demo/e/1 > /run/e && volume attach demo/x/1 > /run/x && mount "$(cat /run/e)" /mnt1 && mount "$(cat /run/x)" /mnt2 &&
    check_volume_files && [ "$(volume attach demo/e/1)" = "$(cat /run/e)" ] && grep -c ':2A94 01 ' /proc/net/tcp || return
  umount /mnt1 && umount /mnt2 && volume detach demo/e/1 && volume detach demo/x/1 && inner_stop && inner_start &&
    volume attach demo/e/1 > /run/e && volume attach demo/x/1 > /run/x
}

# Without a server devices are known by what they say of themselves. The second has lost something, and says so after two minutes.
# For two minutes the kernel waits for a server, as it was told to, and has no need to complain of that.
volumes_detach_alone() {
  local seconds status=0
  seconds=$(cat /proc/sys/kernel/hung_task_timeout_secs)
  echo 0 > /proc/sys/kernel/hung_task_timeout_secs
  detach_without_server || status=1
  echo "$seconds" > /proc/sys/kernel/hung_task_timeout_secs
  return $status
}
detach_without_server() {
  inner_kill
  volume detach demo/e/2 && return 1
  timeout 140 /test/spaceport volume detach demo/e/1 --control $INNER/control.sock > /run/alone 2>&1 && { echo "nothing was lost?"; return 1; }
  cat /run/alone
  grep 'is detached without its connection' /run/alone && [ ! -e /sys/block/$(basename "$(cat /run/e)")/pid ] && inner_start
}
volumes_attach_after() { volume attach demo/e/1 --wait 30 > /run/e && volume attach demo/x/1 --wait 30 && e2fsck -f -n "$(cat /run/e)"; }

volumes_delete() {
  volume delete demo/e --yes && volume delete demo/x --yes && ! inner_control vdisk list | grep -E 'demo/(e|x)' &&
    [ ! -e /sys/block/$(basename "$(cat /run/e)")/pid ] && [ ! -e /sys/block/$(basename "$(cat /run/x)")/pid ]
}

# mkfs fails where the volume is too small for xfs: nothing is left.
attached_count() { ls -d /sys/block/nbd*/pid 2>/dev/null | wc -l; }
volumes_undo() {
  local before
  before=$(attached_count)
  refused 'is deleted again' volume create demo/small --fs xfs --size 16MiB && grep 'is detached again' /run/refused &&
    ! inner_control vdisk list | grep demo/small && [ "$(attached_count)" = "$before" ] || return
  # Ctrl-C while mkfs is at work
  mkdir -p /run/slow && printf '#!/bin/sh\necho > /run/slow/began\nsleep 60\n' > /run/slow/mkfs.ext4 && chmod 755 /run/slow/mkfs.ext4 || return
  PATH=/run/slow:$PATH /test/spaceport volume create demo/late --fs ext4 --size 64MiB --control $INNER/control.sock > /run/late 2>&1 &
  local creator=$!
  wait_until exists /run/slow/began && kill -INT $creator || return
  wait $creator && { echo "it succeeded"; return 1; }
  cat /run/late
  grep -q 'Virtual disk demo/late is deleted again' /run/late && ! inner_control vdisk list | grep demo/late &&
    [ "$(attached_count)" = "$before" ]
}

part_volumes() {
  INNER=/srv
  local DEVICE=/dev/nbd0 BLOCK=/sys/block/nbd0
  step volumes-disks inner_disks || return
  step volumes-start inner_start || return
  step volumes-pool volumes_pool || return
  step volumes-whole-disk inner_attach_to 0 demo/parts 2 2 || return
  step volumes-sgdisk volumes_sgdisk
  step volumes-sfdisk volumes_sfdisk
  step volumes-parted volumes_parted
  step volumes-ours volumes_ours || return
  step volumes-side-by-side volumes_side_by_side || return
  step volumes-list-nbd-client volumes_list_nbd_client
  step volumes-check volumes_check_side_by_side
  step volumes-detach-all detach_all || return
  step volumes-create-ext4 volumes_create_ext4 || return
  step volumes-create-xfs volumes_create_xfs || return
  step volumes-list volumes_list_ours
  step volumes-attach-again volumes_attach_again
  step volumes-refusals volumes_refusals
  step volumes-grow-ext4 volumes_grow_ext4
  step volumes-fill-ext4 volumes_fill_ext4
  step volumes-compare-ext4 volumes_compare_ext4
  step volumes-grow-xfs volumes_grow_xfs
  step volumes-fill-xfs volumes_fill_xfs
  step volumes-compare-xfs volumes_compare_xfs
  breaking_step volumes-restart volumes_restart
  step volumes-unmount volumes_unmount
  step volumes-detach volumes_detach
  step volumes-grow-partition volumes_grow_partition
  step volumes-grow-unmounted volumes_grow_unmounted
  step volumes-btrfs volumes_btrfs
  step volumes-users volumes_users
  step volumes-tcp volumes_tcp
  breaking_step volumes-detach-alone volumes_detach_alone
  breaking_step volumes-attach-after volumes_attach_after
  step volumes-delete volumes_delete
  step volumes-undo volumes_undo
  step volumes-stop inner_stop
  step volumes-disks-unmount inner_unmount
}
