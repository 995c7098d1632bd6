# shellcheck shell=bash disable=SC2086,SC2154  # settings come from lib.sh and the run
# A pool of two disks whose writes the kernel logs (dm-log-writes), under clients that write and flush. At many moments the disks are held
# still and both logs are marked: had the power been cut then, the disks would hold what the logs have before the mark, and any part of what
# was written and not flushed. lib/powercut.py makes such disks of the logs on the host and lets the server open them.

CUT_ROUNDS_A_STEP=8
CUT_LOG=/out/powercut.txt

cut_disk() { grep -lx "$1" /sys/block/vd*/serial | sed 's|/sys/block/\(.*\)/serial|/dev/\1|'; }

# leg-N is what the pool has; it lies on log-N, which logs. A mebibyte at the end of log-N is for the marks.
cut_disks() {
  local number sectors
  modprobe dm-log-writes || return 1
  for number in 1 2; do
    sectors=$(dm_sectors "$(cut_disk leg-$number)") || return 1
    dm_create log-$number "0 $sectors log-writes $(cut_disk leg-$number) $(cut_disk log-$number)" &&
      dm_create leg-$number "0 $((sectors - 2048)) linear /dev/mapper/log-$number 0" || return 1
  done
  echo $((sectors - 2048)) > /run/mark-sector
}
cut_pool() {
  inner_control pool create cut /dev/mapper/leg-1 /dev/mapper/leg-2 &&
    inner_control vdisk create cut/simple --size 16MiB &&
    inner_control vdisk create cut/mirror --size 16MiB --resiliency mirror &&
    inner_control vdisk create cut/files --size 24MiB --resiliency mirror
}
cut_attach() {
  inner_attach_to 0 cut/simple 2 2 && inner_attach_to 1 cut/mirror 2 4 && inner_attach_to 2 cut/files 1 5 &&
    mkfs.ext4 -q -F -b 4096 /dev/nbd2 && mount -t ext4 /dev/nbd2 /mnt && sync -f /mnt || return 1
  # the first cut: nothing has been written to the other two
  rm -f $CUT_LOG
  cuts=0
  power_cut 1 2 0 && echo $cuts > /out/powercut-count.txt
}

# What has happened, in order, for the host: `write DISK SECTOR COUNT BYTE` and `trim` before they are sent, `flushed DISK FROM TO` (all sent
# before to these sectors), `file NAME SHA256`, `deleted NAME`, and `cut NUMBER`.
note() { echo "$*" >> $CUT_LOG; }

# power_cut FIRST SECOND SECONDS: leg FIRST is held first, and SECOND goes on without it for so long
power_cut() {
  local number=$cuts
  cuts=$((cuts + 1))
  dm suspend --nolockfs leg-$1 && sleep $3 && dm suspend --nolockfs leg-$2 || return 1
  for leg in 1 2; do
    dm message log-$leg 0 mark cut-$number || return 1
    # An ordinary write: in the log it stands behind all that was written and not flushed before the cut.
    printf 'cut-%d' $number | dd of=/dev/mapper/log-$leg bs=512 seek=$(cat /run/mark-sector) conv=sync,notrunc oflag=direct status=none ||
      return 1
  done
  note "cut $number"
  dm resume leg-1 leg-2
}

# Each writer has a part of a device to itself: WRITER 0 to 3, device WRITER / 2, half WRITER % 2 of its 32768 sectors.
# batch WRITER: writes of mixed sizes, some of them again and again to one place, half of the times with a flush at the end; noted, and as
# the arguments for xfs_io in `commands`
batch() {
  local writer=$1 disk=$(($1 / 2)) base=$(($1 % 2 * 16384)) count=$((2 + RANDOM % 6)) sizes=(1 1 3 8 8 13 64 256) sectors sector
  commands=()
  while [ $((count--)) -gt 0 ]; do
    sectors=${sizes[$((RANDOM % 8))]}
    if [ $((RANDOM % 3)) = 0 ]; then sector=$((base + RANDOM % 64)); else sector=$((base + RANDOM % (16384 - 256))); fi
    value=$((value % 255 + 1))
    note "write $disk $sector $sectors $value"
    commands+=(-c "pwrite -q -S $value -b $((sectors * 512)) $((sector * 512)) $((sectors * 512))")
  done
  flushes[writer]=$((RANDOM % 2))
  if [ ${flushes[writer]} = 1 ]; then commands+=(-c fsync); fi
}
# trim_some WRITER: aligned as a file system does it, or not
trim_some() {
  local disk=$(($1 / 2)) sector=$(($1 % 2 * 16384 + RANDOM % 8192)) sectors=$((1 + RANDOM % 8192))
  if [ $((RANDOM % 2)) = 0 ]; then sector=$((sector / 2048 * 2048)) sectors=4096; fi
  note "trim $disk $sector $sectors"
  flushes[$1]=0
  blkdiscard -f -o $((sector * 512)) -l $((sectors * 512)) /dev/nbd$disk &
  pids+=($!)
}
some_writes() {
  batch $1
  xfs_io -d "${commands[@]}" /dev/nbd$(($1 / 2)) &
  pids+=($!)
}
some_file() {
  dd if=/dev/urandom of=/mnt/file$1 bs=$((1 + RANDOM % 5000)) count=$((1 + RANDOM % 40)) conv=fsync status=none &
  pids+=($!)
  if [ $1 -gt 6 ]; then note "deleted file$(($1 - 6))"; rm /mnt/file$(($1 - 6)); fi
}

# One round: everyone writes at once, the power is cut while they do and, every other round, when all is answered.
cut_round() {
  local round=$1 writer pid first=$((1 + RANDOM % 2))
  pids=() flushes=()
  for writer in 0 1 2 3; do
    if [ $((RANDOM % 6)) = 0 ]; then trim_some $writer; else some_writes $writer; fi
  done
  some_file $round
  sleep 0.0$((RANDOM % 8))
  power_cut $first $((3 - first)) 0.0$((RANDOM % 6)) || return 1
  for pid in "${pids[@]}"; do wait $pid || return 1; done
  for writer in 0 1 2 3; do
    [ ${flushes[writer]} = 0 ] || note "flushed $((writer / 2)) $((writer % 2 * 16384)) $((writer % 2 * 16384 + 16384))"
  done
  note "file file$round $(sha256sum < /mnt/file$round | cut -d' ' -f1)"
  [ $((round % 2)) = 0 ] || power_cut 1 2 0
}
# cut_rounds FIRST: some rounds; /out/powercut-count.txt has how many cuts there have been, in all steps
cut_rounds() {
  local round
  RANDOM=$((CUT_SEED + $1))
  echo "seed $CUT_SEED"
  cuts=$(cat /out/powercut-count.txt) value=$((cuts * 5 % 255))
  for ((round = $1; round < $1 + CUT_ROUNDS_A_STEP; round++)); do
    cut_round $round || { echo "round $round failed"; return 1; }
  done
  echo $cuts > /out/powercut-count.txt
  # nothing has failed: a pool without one of its disks could not be cut as this test does it
  pool_becomes 1 cut ok healthy
}
# The last cut is after an orderly end, when nothing is left to lose.
cut_end() {
  cuts=$(cat /out/powercut-count.txt)
  umount /mnt && detach_all && inner_stop || return 1
  for disk in 0 1; do note "flushed $disk 0 32768"; done
  power_cut 1 2 0 && echo $cuts > /out/powercut-count.txt && dm status && wait_until dm_remove_all
}

part_powercut() {
  INNER=/run/powercut
  mkdir -p $INNER
  step powercut-disks cut_disks || return
  step powercut-start inner_start || return
  step powercut-pool cut_pool || return
  step powercut-attach cut_attach || return
  step powercut-rounds-1 cut_rounds 1 || return
  step powercut-rounds-2 cut_rounds $((1 + CUT_ROUNDS_A_STEP)) || return
  step powercut-rounds-3 cut_rounds $((1 + 2 * CUT_ROUNDS_A_STEP)) || return
  step powercut-end cut_end
}
