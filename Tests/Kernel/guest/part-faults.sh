# shellcheck shell=bash disable=SC2086,SC2154  # settings come from lib.sh and the run
# Two mirrors of two disks each, served in this guest and used over nbd.ko by fio with verify, while the kernel's device mapper makes their
# disks fail: writes that end in EIO, a disk that hangs, reads that end in EIO, a disk that fails altogether and is replaced. No client sees it.

FAULTS_DISK_SECTORS=$((256 << 11))
# Longer than a hung disk gets (10 s), and than the wait before a failed one is taken back (30 s), on a busy machine.
EVICTION_LIMIT_SECONDS=45
RETURN_LIMIT_SECONDS=100

# faults_table NAME: where on the guest's disk it lies when nothing is wrong with it
faults_table() {
  local names=(writes1 writes2 stalls1 stalls2 spare) index
  for index in "${!names[@]}"; do
    if [ "${names[$index]}" = "$1" ]; then echo "0 $FAULTS_DISK_SECTORS linear /dev/vda $((2048 + index * FAULTS_DISK_SECTORS))"; fi
  done
}

faults_disks() {
  local name
  modprobe dm-flakey && modprobe dm-delay && blkdiscard -f /dev/vda || return 1
  for name in writes1 writes2 stalls1 stalls2 spare; do dm_create $name "$(faults_table $name)" || return 1; done
  # what reads end in where only reads fail
  dm_create broken "0 $FAULTS_DISK_SECTORS error"
}

faults_heal() { dm_become "$1" "$(faults_table "$1")"; }
# Writes end in EIO and change nothing; reads are answered.
faults_fail_writes() { dm_become "$1" "0 $FAULTS_DISK_SECTORS flakey $(faults_table "$1" | cut -d' ' -f4-) 0 3600 1 error_writes"; }
# dm-delay, without any delay, sends reads and writes to different devices.
faults_fail_reads() {
  dm_become "$1" "0 $FAULTS_DISK_SECTORS delay /dev/mapper/broken 0 0 $(faults_table "$1" | cut -d' ' -f4-) 0"
}
faults_fail() { dm_become "$1" "0 $FAULTS_DISK_SECTORS error"; }
# In-flight requests end, later ones wait until it is resumed.
faults_hang() { dm suspend --nolockfs "$1"; }

faults_pools() {
  local pool
  for pool in writes stalls; do
    inner_control pool create $pool /dev/mapper/${pool}1 /dev/mapper/${pool}2 &&
      inner_control vdisk create $pool/mirror --size 96MiB --resiliency mirror || return 1
  done
}
faults_attach() { inner_attach_to 0 writes/mirror 2 2 && inner_attach_to 1 stalls/mirror 2 4; }

# One verified run after the other on each device, until /run/load-stop appears; the first that fails ends it.
faults_load_start() {
  local number
  rm -f /run/load-*
  for number in "$@"; do
    (
      runs=0
      until [ -e /run/load-stop ]; do
        fio_verify /dev/nbd$number libaio 3m --offset=$((runs % 6 * 8))m || { echo failed > /run/load-$number.status; exit 1; }
        runs=$((runs + 1))
        echo $runs > /run/load-$number.runs
      done
      echo ended > /run/load-$number.status
    ) > /out/faults-load-$number.log 2>&1 < /dev/null &
  done
  for number in "$@"; do wait_for 60 faults_load_reached $number 1 || return 1; done
}
faults_runs() {
  local runs
  runs=$(cat /run/load-$1.runs 2>/dev/null)
  # empty while it is written
  echo ${runs:-0}
}
faults_load_reached() { [ "$(faults_runs $1)" -ge "$2" ]; }
faults_load_goes_on() {
  local number runs
  for number in "$@"; do
    runs=$(faults_runs $number)
    # the run under way may have begun before
    wait_for 90 faults_load_reached $number $((runs + 2)) || return 1
  done
}
faults_load_has_status() { [ -s /run/load-$1.status ]; }
faults_load_end() {
  local number
  touch /run/load-stop
  for number in "$@"; do
    wait_for 90 faults_load_has_status $number && echo "$(faults_runs $number) runs on nbd$number: $(cat /run/load-$number.status)" || return 1
    [ "$(cat /run/load-$number.status)" = ended ] || { tail -20 /out/faults-load-$number.log; return 1; }
  done
}

disk_is() { inner_control disk list | grep "^/dev/mapper/$1 " | grep -q "$2"; }

faults_write_errors() {
  faults_fail_writes writes2 && pool_becomes $EVICTION_LIMIT_SECONDS writes degraded warning && disk_is writes2 'lost communication'
}
# Once it is evicted the disk goes on, with what it was sent: 60 s on, the kernel would complain of a hung task.
faults_stall() {
  # After some seconds it is called slow, and evicted later.
  faults_hang stalls2 && wait_for $EVICTION_LIMIT_SECONDS disk_is stalls2 'lost communication' || return 1
  dm resume stalls2 && pool_becomes $EVICTION_LIMIT_SECONDS stalls degraded warning
}
faults_return() {
  faults_heal writes2 || return 1
  pool_becomes $RETURN_LIMIT_SECONDS writes ok healthy && pool_becomes $RETURN_LIMIT_SECONDS stalls ok healthy
}
faults_events() {
  local pool event
  for pool in writes stalls; do
    inner_control event list $pool > /run/events && cat /run/events || return 1
    for event in diskEvicted diskReturned diskActive; do grep -q $event /run/events || { echo "no $event in pool $pool"; return 1; }; done
  done
}
# scrub_is_clean POOL: both copies of everything are read and agree
scrub_is_clean() {
  local job
  job=$(inner_control pool scrub $1 | sed -n 's/^Job \([0-9]*\) .*/\1/p')
  [ -n "$job" ] && wait_for 60 scrub_has_ended $1 $job && inner_control job list $1 && grep -q "^$1 $job: No damage found" /run/jobs
}
scrub_has_ended() { inner_control job list $1 > /run/jobs && grep -q "^$1 *$2 *scrub *completed" /run/jobs; }

# The other copy answers, and what could not be read is written again; a disk that cannot read it even then is given up.
faults_read_errors() {
  faults_fail_reads writes1 || return 1
  fio_verify $DEVICE libaio 2m --offset=64m || return 1
  inner_control disk list
  # what was written again could not be read back: the disk is given up
  wait_for $EVICTION_LIMIT_SECONDS disk_is writes1 'lost communication' && faults_heal writes1 &&
    pool_becomes $RETURN_LIMIT_SECONDS writes ok healthy
}
faults_replace() {
  faults_fail writes1 && pool_becomes $EVICTION_LIMIT_SECONDS writes degraded warning &&
    inner_control disk replace /dev/mapper/writes1 /dev/mapper/spare --pool writes && pool_becomes 60 writes ok healthy || return 1
  inner_control disk list
  disk_is spare healthy && ! inner_control disk list | grep -q '^/dev/mapper/writes1 '
}
faults_end() { detach_all && inner_stop && wait_until dm_remove_all; }

part_faults() {
  INNER=/run/faults
  mkdir -p $INNER
  step faults-disks faults_disks || return
  step faults-start inner_start || return
  step faults-pools faults_pools || return
  step faults-attach faults_attach || return
  step faults-load faults_load_start 0 1 || return
  faulty_step faults-write-errors faults_write_errors || return
  faulty_step faults-stall faults_stall || return
  faulty_step faults-load-goes-on faults_load_goes_on 0 1
  faulty_step faults-return faults_return || return
  faulty_step faults-load-saw-nothing faults_load_end 0 1
  step faults-scrub-write-errors scrub_is_clean writes
  step faults-scrub-stall scrub_is_clean stalls
  step faults-events faults_events
  faulty_step faults-read-errors faults_read_errors
  step faults-scrub-read-errors scrub_is_clean writes
  step faults-load-again faults_load_start 0 || return
  faulty_step faults-replace faults_replace || return
  faulty_step faults-replace-unseen faults_load_end 0
  step faults-scrub-replace scrub_is_clean writes
  step faults-end faults_end
}
