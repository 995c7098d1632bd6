#!/bin/bash
# The kernel test: Debian's own kernel, in a virtual machine, uses spaceport's virtual disks through nbd.ko.
usage() {
  cat <<'U'
usage: Tests/Kernel/run.sh [options]
  --spaceport PATH    the program under test (default: .build/release/spaceport)
  --out DIR           where logs are kept (default: .build/kernel-test); those of an earlier run are replaced
  --only PART,PART    run only some of the parts: ext4 xfs crash sector4k inner faults powercut volumes systemd
  --limit SECONDS     the guest is stopped after so long (default: 1200)
  --add PROGRAM       also put this program into the guest, with its libraries; repeatable
  --server-cmd CMD    test another NBD server instead: CMD must serve one writable export of 1 GiB or more on
                      127.0.0.1:$PORT, and is killed and run again in between; it may keep its data in
                      $WORK/disk.img (sparse, 2 GiB). Export names are asked for as with spaceport.
                      The parts that need spaceport itself are left out, and the output says so.
Exit status: 0 when every step passed, 1 when one failed, 2 when the test could not start.
Kernel and guest image are cached in ${XDG_CACHE_HOME:-$HOME/.cache}/spaceport/kernel.
Needs the Debian packages in Tests/Kernel/packages.txt; root is not needed.
U
}
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin:/sbin
SPACEPORT=$here/../../.build/release/spaceport
OUT=$here/../../.build/kernel-test
SERVER_CMD=
parts=(ext4 xfs crash sector4k inner faults powercut volumes systemd)
guest_limit_seconds=1200
added_programs=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --spaceport | --out | --only | --limit | --add | --server-cmd)
      if [ $# -lt 2 ]; then echo "run.sh: $1 wants a value" >&2; exit 2; fi ;;&
    --spaceport) SPACEPORT=$2 ;;
    --out) OUT=$2 ;;
    --only) IFS=, read -r -a parts <<< "$2" ;;
    --limit) guest_limit_seconds=$2 ;;
    --add) added_programs+=("$2") ;;
    --server-cmd) SERVER_CMD=$2 ;;
    *) echo "run.sh: what is '$1'?" >&2; usage >&2; exit 2 ;;
  esac
  shift 2
done
for part in "${parts[@]}"; do
  [ -f "$here/guest/part-$part.sh" ] || { echo "run.sh: there is no part '$part'" >&2; exit 2; }
done

# shellcheck source=lib/pack.sh
. "$here/lib/pack.sh"
# shellcheck source=lib/pack-systemd.sh
. "$here/lib/pack-systemd.sh"
# shellcheck source=lib/server.sh
. "$here/lib/server.sh"
# shellcheck source=lib/vm.sh
. "$here/lib/vm.sh"

check_needs() {
  local program missing=()
  [ "$(uname -m)" = x86_64 ] || { echo "run.sh: the guest is an x86_64 machine, and so must this one be" >&2; exit 2; }
  for program in qemu-system-x86_64 nbd-client fio mkfs.ext4 mkfs.xfs mkfs.btrfs systemctl udevadm make sgdisk sfdisk parted modprobe dmsetup nbdcopy debugfs cpio busybox lz4 zstd python3 setsid dpkg apt-get; do
    command -v "$program" > /dev/null || missing+=("$program")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    echo "run.sh: missing: ${missing[*]}. Install the packages listed in Tests/Kernel/packages.txt" >&2
    exit 2
  fi
  if [ -z "$SERVER_CMD" ] && [ ! -x "$SPACEPORT" ]; then
    echo "run.sh: there is no program $SPACEPORT; build it first (swift build -c release), or name one with --spaceport" >&2
    exit 2
  fi
}

clean_up() {
  if [ -n "$qemu_pid" ]; then kill "$qemu_pid" 2>/dev/null || true; fi
  server_clean_up
  rm -rf "$WORK"
}

# host_step NAME COMMAND...: run it, print name, verdict and seconds as the guest does, count it
passed=0 failed=0
host_step() {
  local name=$1 began=$EPOCHREALTIME verdict=ok
  shift
  "$@" > "$OUT/host-$name.log" 2>&1 || verdict=FAIL
  if [ $verdict = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  printf 'step %-24s %-4s %6.1f s\n' "$name" $verdict "$(awk "BEGIN { print $EPOCHREALTIME - $began }")"
  [ $verdict = ok ] || { tail -5 "$OUT/host-$name.log" | sed 's/^/    | /'; return 1; }
}

prepare_guest() {
  local cache=${XDG_CACHE_HOME:-$HOME/.cache}/spaceport/kernel
  mkdir -p "$cache" || return 1
  # two runs at a time must not build the same cache
  exec 9> "$cache/lock"
  flock -w 600 9 || { echo "another run holds $cache/lock"; return 1; }
  kernel=$cache/debian
  "$here/lib/get-kernel.sh" "$kernel" || return 1
  base=$("$here/lib/make-initramfs.sh" "$kernel" "$cache") || return 1
  # a copy of this run's own: a later run may replace the cached one
  cp "$base" "$WORK/base.cpio" || return 1
  base=$WORK/base.cpio
  exec 9>&-
}

has_part() { [[ " ${parts[*]} " = *" $1 "* ]]; }

# The disks of the part powercut: full of noise, so that what was never written shows when it is read, with a copy to replay the logs onto.
powercut_disks=()
prepare_powercut() {
  local number
  for number in 1 2; do
    head -c 81M /dev/urandom > "$WORK/leg-$number.img" && cp "$WORK/leg-$number.img" "$WORK/leg-$number.base" || return 1
    truncate -s 512M "$WORK/log-$number.img"
    powercut_disks+=("leg-$number" "log-$number")
  done
}

# The guest has written the logs; what the disks would have held after each power cut is made here, opened by the server and checked.
check_powercut() {
  host_step powercut-replay "$here/lib/powercut.py" "$WORK" "$OUT" "$SPACEPORT" || return
  grep '^cuts: ' "$OUT/host-powercut-replay.log"
}

# What `make install` makes, with the program where the guest has it already.
prepare_systemd() {
  make -C "$here/../.." -s install RELEASE="$SPACEPORT" DESTDIR="$extra" PREFIX=/usr/local || return 1
  ln -sf /test/spaceport "$extra/usr/local/bin/spaceport"
  pack_systemd "$extra"
}

# run_guest PART...: one boot, and its verdicts
run_guest() {
  {
    printf 'export HOST=10.0.2.2 PORT=%q LIMIT=%q PARTS=%q CUT_SEED=%q\n' "$PORT" "$guest_limit_seconds" "$*" "$RANDOM"
    printf 'export EXPORT=demo/disk1 EXPORT_4K=demo/disk4k EXPORT_BYTES=%q EXPORT_4K_BYTES=%q\n' "$disk1_bytes" "$disk4k_bytes"
  } > "$extra/test/env"
  vm_run || echo "the guest did not run; see $OUT/qemu.log and $OUT/console.log"
  count_guest_steps "$@"
}

# What differs from run to run goes into a second archive behind the base one.
prepare_extra() {
  local program library
  mkdir -p "$extra/test" "$extra/usr/bin"
  cp "$here"/guest/*.sh "$extra/test/"
  install -m 755 "$here/guest/host" "$extra/usr/bin/host"
  for program in "${added_programs[@]}"; do pack_program "$extra" "$program" || return 1; done
  if [ -z "$SERVER_CMD" ]; then
    install -D -m 755 "$SPACEPORT" "$extra/test/spaceport" || return 1
    pack_libraries "$extra" "$SPACEPORT"
    # loaded when it is needed, so ldd does not name it
    library=$(ldconfig -p | sed -n 's|.*libnbd.so.0 .*=> ||p' | head -1)
    pack_file "$extra" "$library" && pack_libraries "$extra" "$library" || return 1
  fi
  if has_part systemd; then prepare_systemd || return 1; fi
  truncate -s 4G "$WORK/guest-disk.img"
  if has_part powercut; then prepare_powercut; fi
}

prepare_spaceport() {
  local letter files=()
  for letter in a b c; do
    truncate -s 2G "$WORK/disk-$letter.img"
    files+=("$WORK/disk-$letter.img")
  done
  mkdir -m 700 "$WORK/state"
  host_step server-start server_start &&
    host_step pool-create control pool create demo "${files[@]}" &&
    host_step vdisk-create control vdisk create demo/disk1 --size 2GiB &&
    host_step vdisk-create-4k control vdisk create demo/disk4k --size 1GiB --sector-size 4096
}

# Afterwards the disks must be whole, seen from outside the server.
check_spaceport_disks() {
  local letter
  host_step server-stop server_stop || true
  for letter in a b c; do
    host_step "inspect-disk-$letter" timeout -k 5 60 "$SPACEPORT" inspect "$WORK/disk-$letter.img" || true
  done
}

# The guest's verdicts come back as a file. A guest that did not finish, or left out a part, is a failure however many steps passed.
count_guest_steps() {  # PART...
  local verdict name guest_failed=0 expected_exit=0
  if [ -s "$OUT/steps.txt" ]; then
    while read -r verdict name _; do
      if [ "$verdict" = ok ]; then passed=$((passed + 1)); else guest_failed=$((guest_failed + 1)); fi
    done < "$OUT/steps.txt"
  fi
  [ "$guest_failed" = 0 ] || expected_exit=1
  failed=$((failed + guest_failed))
  if ! grep -qsx "$*" "$OUT/parts-done.txt" || ! tr -d '\r' < "$OUT/console.log" | grep -qax "GUEST-EXIT $expected_exit"; then
    echo "the guest did not finish its parts ($*); see $OUT/console.log"
    failed=$((failed + 1))
  fi
}

began=$EPOCHREALTIME
check_needs
mkdir -p "$OUT"
OUT=$(realpath "$OUT")
rm -f "$OUT"/{console,server,qemu}.log "$OUT"/{steps,parts-done,dmesg}.txt
[ -n "$SERVER_CMD" ] || SPACEPORT=$(realpath "$SPACEPORT")
# /var/tmp, unlike /tmp, is a real file system everywhere: O_DIRECT works there
WORK=$(mktemp -d "${TMPDIR:-/var/tmp}/spaceport-kernel.XXXXXX")
extra=$WORK/extra
trap clean_up EXIT
trap 'exit 130' INT TERM
PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export WORK OUT PORT SPACEPORT SERVER_CMD

host_step prepare-guest prepare_guest || exit 2
if [ -n "$SERVER_CMD" ]; then
  disk1_bytes='' disk4k_bytes=''
  kept=()
  for part in "${parts[@]}"; do case $part in inner | faults | powercut | volumes | systemd) ;; *) kept+=("$part") ;; esac; done
  parts=("${kept[@]}")
  echo "left out because of --server-cmd: pool and virtual disk creation, sizes, inspect, and the parts 'inner', 'faults', 'powercut', 'volumes', 'systemd'"
  truncate -s 2G "$WORK/disk.img"
  host_step server-start server_start || exit 1
else
  disk1_bytes=$((2 << 30)) disk4k_bytes=$((1 << 30))
  prepare_spaceport || { echo "$passed passed, $failed failed"; exit 1; }
fi
host_step prepare-run prepare_extra || exit 2
echo "kernel $(cat "$kernel/release"), parts: ${parts[*]}, logs in $OUT"
# systemd is process 1 in a boot of its own, whose files are put aside.
others=()
for part in "${parts[@]}"; do [ "$part" = systemd ] || others+=("$part"); done
if has_part systemd; then
  run_guest systemd
  mkdir -p "$OUT/systemd"
  mv -f "$OUT"/{console.log,steps.txt,parts-done.txt,dmesg.txt} "$OUT/systemd/" 2>/dev/null || true
fi
if [ ${#others[@]} -gt 0 ]; then run_guest "${others[@]}"; fi
if has_part powercut; then check_powercut || true; fi
if [ -n "$SERVER_CMD" ]; then server_end TERM || true; else check_spaceport_disks; fi
printf 'total %.0f s\n' "$(awk "BEGIN { print $EPOCHREALTIME - $began }")"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
