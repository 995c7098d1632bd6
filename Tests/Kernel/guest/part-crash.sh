# shellcheck shell=bash disable=SC2086,SC2154  # DEVICE, BLOCK and the settings come from lib.sh and the run
# The server is killed (SIGKILL) under load, started again and attached again: what was flushed, or written with FUA, is there.

# A request that was half sent when the server died is only given up after this time, so a short one keeps the test short.
CRASH_TIMEOUT_SECONDS=6
crash_attach() { attach "$EXPORT" 4 512 $CRASH_TIMEOUT_SECONDS; }

# load_until_error FILE OPTIONS: writes that must end in an error, since the server dies under them
load_until_error() {
  local file=$1
  shift
  if fio --name=load --filename="$file" --rw=randwrite --bs=16k --size=64m --ioengine=libaio --iodepth=8 --direct=1 \
    --time_based --runtime=40 "$@" > /out/crash-load.log 2>&1; then
    echo "the load saw no error although the server was killed"
    return 1
  fi
}

# Goes into what is written, so that what an earlier kill left behind is not taken for this one's data.
# In a file, since each step is a process of its own.
round() { cat /run/round; }

# One FUA write after the other, each to a place never written before, so that each allocates; the last one answered is noted in /run/answered.
fua_writer() {
  local number=0 round
  round=$(round)
  while printf "round $round %4088d" $number | dd of=$DEVICE bs=4096 seek=$((131072 + number * 301)) oflag=direct,dsync conv=notrunc \
    status=none 2>/dev/null; do
    number=$((number + 1))
    echo $number > /run/answered
  done
}
fua_check() {
  local number answered round
  round=$(round)
  answered=$(cat /run/answered)
  echo "$answered FUA writes were answered"
  [ "$answered" -ge 5 ] || return 1
  for ((number = 0; number < answered; number++)); do
    dd if=$DEVICE bs=4096 skip=$((131072 + number * 301)) count=1 iflag=direct status=none |
      cmp - <(printf "round $round %4088d" $number) || { echo "FUA write $number of $answered is lost"; return 1; }
  done
}

flushed_job() {
  fio --name=flushed --filename=$DEVICE --rw=randwrite --bs=16k --offset=1024m --size=16m --ioengine=libaio --iodepth=8 --direct=1 \
    --verify=crc32c --verify_fatal=1 "$@"
}

# some FUA writes must have been answered before the kill
answered_some() { [ "$(cat /run/answered 2>/dev/null || echo 0)" -ge 10 ]; }

kill_under_load() {
  local load writer
  rm -f /run/answered
  echo $(($(round) + 1)) > /run/round
  load_until_error "$@" & load=$!
  fua_writer & writer=$!
  wait_until answered_some
  host server-kill || return 1
  wait $load || return 1
  wait $writer
}

kill_under_raw_load() {
  blkdiscard -f $DEVICE && flushed_job --do_verify=0 --end_fsync=1 && kill_under_load $DEVICE --offset=256m
}
crash_reattach() { detach; host server-start && crash_attach; }

crash_xfs_files() { mkfs_xfs_small_log -q -d size=400m && mount -t xfs $DEVICE /mnt && make_files /mnt 4 && sync -f /mnt; }
# xfs sees its disk fail and shuts down; unmounting must still work
kill_under_xfs() { kill_under_load /mnt/load && umount /mnt; }
# mounting replays the log
crash_xfs_check() { mount -t xfs $DEVICE /mnt && check_files /mnt && umount /mnt && xfs_repair -n $DEVICE; }

part_crash() {
  echo 0 > /run/round
  step crash-attach crash_attach || return
  breaking_step crash-kill-raw kill_under_raw_load
  breaking_step crash-reattach-raw crash_reattach || return
  step crash-flushed-is-there flushed_job --verify_only
  step crash-fua-is-there fua_check
  step crash-write-on dd if=/dev/zero of=$DEVICE bs=1M seek=64 count=4 oflag=direct
  step crash-xfs-files crash_xfs_files || return
  breaking_step crash-kill-xfs kill_under_xfs
  breaking_step crash-reattach-xfs crash_reattach || return
  step crash-xfs-is-there crash_xfs_check
  step crash-fua-is-there-too fua_check
  step crash-detach detach
}
