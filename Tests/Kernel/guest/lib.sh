# shellcheck shell=bash
# Sourced by main.sh in the guest: steps and their verdicts, attaching and detaching, and the checks that several parts share.
set -u
DEVICE=/dev/nbd0
BLOCK=/sys/block/nbd0
# A request unanswered for so long counts as a lost connection; well above what a busy host takes, below the hung-task limit.
REQUEST_TIMEOUT_SECONDS=30
for file in /test/inner-server.sh /test/device-mapper.sh /test/part-*.sh; do
  # shellcheck source=/dev/null
  . "$file"
done

# Never tolerated; the second list is, in a step that breaks the connection on purpose.
COMPLAINTS_ALWAYS='BUG:|WARNING:|Oops|general protection|hung_task|blocked for more|Out of memory|[Pp]anic'
COMPLAINTS_UNLESS_BROKEN='I/O error|[Cc]orrupt|(EXT4|XFS).*([Ee]rror|[Ww]arning|[Ss]hut)|[Mm]etadata|Buffer I/O|nbd[0-9].*([Ff]ail|[Ee]rror|[Dd]ead|timed out|[Dd]ouble|[Uu]nexpected|[Ww]rong)'
# The same of what clients use, in a step that makes the pool's own disks fail: those may complain, nbd.ko and file systems may not.
COMPLAINTS_OF_CLIENTS='(I/O error|Buffer I/O).*nbd|(EXT4|XFS).*([Ee]rror|[Ww]arning|[Ss]hut)|nbd[0-9].*([Ff]ail|[Ee]rror|[Dd]ead|timed out|[Dd]ouble|[Uu]nexpected|[Ww]rong)'
kernel_lines_seen=0

# The kernel's complaints since the last call, on stdout; 0 when there are some
new_complaints() {
  local pattern=$1 total complaints
  dmesg > /run/dmesg
  total=$(wc -l < /run/dmesg)
  complaints=$(tail -n "+$((kernel_lines_seen + 1))" /run/dmesg | grep -aE "$pattern" | grep -av 'test: step')
  kernel_lines_seen=$total
  [ -n "$complaints" ] && printf '%s\n' "$complaints"
}

uptime_seconds() { cut -d' ' -f1 /proc/uptime; }

# Above fio's own limit and the host's answer (90 s). The longest step takes a tenth of it on a quiet machine.
STEP_LIMIT_SECONDS=150

# limited COMMAND...: in a process group of its own, killed when it takes too long. A process that hangs in the kernel cannot be killed:
# requests unanswered end after REQUEST_TIMEOUT_SECONDS, and the guest as a whole has its limit too.
limited() {
  local group watch status
  set -m
  ("$@") & group=$!
  (
    sleep $STEP_LIMIT_SECONDS
    echo "not done after $STEP_LIMIT_SECONDS s; the blocked tasks are in dmesg.txt"
    echo w > /proc/sysrq-trigger
    kill -KILL -- -$group
  ) & watch=$!
  set +m
  wait $group
  status=$?
  # quietly: that the watch is killed is no news
  kill -KILL -- -$watch 2>/dev/null
  wait $watch 2>/dev/null
  return $status
} 2>&1

# run_step PATTERN NAME COMMAND...: a step fails when its command does, takes too long, or when the kernel complained meanwhile
run_step() {
  local pattern=$1 name=$2 began ended status verdict=ok
  shift 2
  echo "$name" > /run/step
  echo "test: step $name" > /dev/kmsg
  began=$(uptime_seconds)
  limited "$@" > "/out/step-$name.log"
  status=$?
  if new_complaints "$pattern" > /run/complaints; then
    { echo "the kernel complained:"; cat /run/complaints; } >> "/out/step-$name.log"
    [ $status != 0 ] || status=complaint
  fi
  ended=$(uptime_seconds)
  [ $status = 0 ] || verdict=FAIL
  printf 'step %-24s %-4s %6.1f s\n' "$name" $verdict "$(awk "BEGIN { print $ended - $began }")"
  echo "$verdict $name $status" >> /out/steps.txt
  [ $status = 0 ] || { tail -8 "/out/step-$name.log" | sed 's/^/    | /'; return 1; }
}
step() { run_step "$COMPLAINTS_ALWAYS|$COMPLAINTS_UNLESS_BROKEN" "$@"; }
# for a step that breaks the connection on purpose
breaking_step() { run_step "$COMPLAINTS_ALWAYS" "$@"; }

# for a step that makes the pool's disks fail, of which clients must see nothing
faulty_step() { run_step "$COMPLAINTS_ALWAYS|$COMPLAINTS_OF_CLIENTS" "$@"; }

# wait_for SECONDS COMMAND...: ten tries a second, more slowly where the command itself takes long
wait_for() {
  local seconds=$1 tries
  shift
  for ((tries = seconds * 10; tries > 0; tries--)); do
    if "$@"; then return 0; fi
    sleep 0.1
  done
  echo "waited $seconds s in vain for: $*"
  return 1
}
wait_until() { wait_for 10 "$@"; }
has_size() { [ "$(cat $BLOCK/size)" -gt 0 ]; }
has_no_size() { [ "$(cat $BLOCK/size)" = 0 ]; }
exists() { [ -e "$1" ]; }

# The kernel looks for partitions when the device is first opened; no udev does that here.
is_attached() { wait_until has_size && blockdev --getsize64 $DEVICE; }

# Each connection's receiver in nbd.ko is a work that never ends. When the kernel makes its worker threads too slowly, as on a busy host,
# the work queue's one rescuer thread takes several receivers: only the first ever runs, and what the server answers on the other
# connections stays in their sockets. That is a fault of the kernel's, seen before any request is sent; the next attempt finds the workers made.
ATTACH_ATTEMPTS=4
has_receivers() { [ "$(grep -ls 'recv_work' /proc/[0-9]*/stack | wc -l)" = "$1" ]; }

# attach_until_received CONNECTIONS NBD-CLIENT-ARGUMENTS...
attach_until_received() {
  local connections=$1 attempt
  shift
  for ((attempt = 1; attempt <= ATTACH_ATTEMPTS; attempt++)); do
    nbd-client "$@" || return 1
    if wait_until has_receivers "$connections"; then return 0; fi
    echo "test: nbd.ko does not receive on all $connections connections; attaching again" | tee /dev/kmsg
    nbd-client -d $DEVICE && wait_until has_no_size || return 1
  done
  return 1
}

# attach EXPORT CONNECTIONS SECTOR_BYTES [TIMEOUT_SECONDS], over TCP to the server on the host
attach() {
  attach_until_received "$2" "$HOST" "$PORT" $DEVICE -N "$1" -C "$2" -b "$3" -t "${4:-$REQUEST_TIMEOUT_SECONDS}" && is_attached
}

detach() {
  sync
  nbd-client -d $DEVICE && wait_until has_no_size && echo 3 > /proc/sys/vm/drop_caches
}

detach_all() {
  local DEVICE BLOCK number
  for number in 0 1 2 3; do
    DEVICE=/dev/nbd$number BLOCK=/sys/block/nbd$number
    has_no_size || detach || return 1
  done
}

# Between parts: whatever a failed part left behind must not fail the next one.
leave_nothing_attached() {
  {
    if grep -q ' /mnt ' /proc/mounts; then umount /mnt || umount -f -l /mnt; fi
    # a suspended disk would hold up everything else
    dm_resume_all
    detach_all
    inner_kill
    dm_remove_all
    host server-start
    dmesg > /run/dmesg
  } > /out/leave.log 2>&1
  kernel_lines_seen=$(wc -l < /run/dmesg)
}

# How many connections the kernel has open to the server: 10.0.2.2 and the port as /proc/net/tcp spells them, state 01 is established
tcp_connections() { grep -c " 0202000A:$(printf %04X "$PORT") 01 " /proc/net/tcp; }

# check_device SIZE_BYTES SECTOR_BYTES CONNECTIONS: what the kernel took from the negotiation. SIZE_BYTES may be empty: any.
check_device() {
  local property wrong=0
  for property in logical_block_size physical_block_size minimum_io_size optimal_io_size max_sectors_kb \
    discard_granularity discard_max_bytes write_zeroes_max_bytes write_cache fua rotational; do
    echo "$property=$(cat $BLOCK/queue/$property)"
  done
  expect() { [ "$2" = "$3" ] || { echo "$1 is '$2', expected '$3'"; wrong=1; }; }
  [ -z "$1" ] || expect size "$(blockdev --getsize64 $DEVICE)" "$1"
  expect logical_block_size "$(cat $BLOCK/queue/logical_block_size)" "$2"
  expect connections "$(tcp_connections)" "$3"
  expect read-only "$(cat $BLOCK/ro)" 0
  expect write_cache "$(cat $BLOCK/queue/write_cache)" 'write back'
  expect fua "$(cat $BLOCK/queue/fua)" 1
  [ "$(cat $BLOCK/queue/discard_max_bytes)" -gt 0 ] || { echo "no discard"; wrong=1; }
  return $wrong
}

# make_files DIR [MIB]: a mixed tree with one file of MIB (6), and its checksums outside the disk. Some of it is deleted again, for fstrim to find.
make_files() {
  local number
  mkdir -p "$1/tree" || return 1
  for ((number = 1; number <= 20; number++)); do
    head -c $((number * 3001)) /dev/urandom > "$1/tree/file$number" || return 1
  done
  dd if=/dev/urandom of="$1/big" bs=1M count="${2:-6}" conv=fsync status=none || return 1
  dd if=/dev/urandom of="$1/deleted" bs=1M count=2 conv=fsync status=none || return 1
  truncate -s 16M "$1/sparse"
  printf tail | dd of="$1/sparse" bs=1 seek=12345678 conv=notrunc,fsync status=none || return 1
  rm "$1/deleted" "$1"/tree/file?5
  (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum) > /run/checksums
  [ "$(wc -l < /run/checksums)" -ge 18 ] && sync -f "$1/big"
}
check_files() { (cd "$1" && sha256sum -c --quiet /run/checksums); }

# mkfs_xfs_small_log OPTIONS: mkfs.xfs writes a log of 64 MiB at least, most of a minute on a busy emulated machine.
# It allows a smaller one when these variables of xfstests' are set.
mkfs_xfs_small_log() { TEST_DIR=/mnt TEST_DEV=$DEVICE QA_CHECK_FS=yes mkfs.xfs -f -l size=8m "$@" $DEVICE; }

# trim_mounted DIR: fstrim must have found something to trim
trim_mounted() { fstrim -v "$1" | tee /dev/stderr | grep -qv '(0 bytes)'; }

# fio 3.33 was seen to hang instead of ending when what it verified was wrong: that must be a failed step, not the end of the run.
FIO_LIMIT_SECONDS=120
fio() { timeout -k 5 $FIO_LIMIT_SECONDS /usr/bin/fio "$@"; }

# fio_verify FILE ENGINE SIZE [more fio options]: random writes of mixed sizes with flushes among them, then all of it read and compared.
# serialize_overlap: of two writes to one place that are under way together nobody can say which is the later.
fio_verify() {
  local file=$1 engine=$2 size=$3
  shift 3
  fio --name=verify --filename="$file" --rw=randrw --bsrange=4k-64k --blockalign=4k --size="$size" --ioengine="$engine" --iodepth=16 \
    --direct=1 --serialize_overlap=1 --fsync=64 --verify=crc32c --verify_fatal=1 --do_verify=1 --group_reporting "$@"
}
