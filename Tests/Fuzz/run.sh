#!/bin/bash
# Coverage-guided fuzzing of what parses bytes from outside. All targets are in one program (Fuzzer.swift), built with libFuzzer and AddressSanitizer in
# a directory of its own; each has a corpus of seeds. What a run finds beyond the seeds is kept in .build-fuzz/TARGET/found for the next one.
#
#   run.sh SECONDS [TARGET ...]     all targets, or these, for so long each; as many at the same time as there are processors
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-60}
shift || true
[ $# -gt 0 ] || set -- partition-table nbd-handshake nbd-transmission metadata
build=.build-fuzz
jobs=${FUZZ_JOBS:-$(nproc)}

mkdir -p "$build"
# As fast as can be, with every overflow, bound and assertion trapping.
echo 'fuzz: building'
SPACEPORT_CORE=1 SPACEPORT_FUZZ=1 timeout --foreground "${BUILD_TIMEOUT:-2400}" "${SWIFT:-swift}" build --no-color-diagnostics --scratch-path "$build" \
  --sanitize=fuzzer --sanitize=address --product spaceport-fuzz -Xswiftc -sanitize=fuzzer,address -Xswiftc -O -Xswiftc -assert-config -Xswiftc Debug \
  >"$build/build-log" 2>&1 || { tail -n 60 "$build/build-log" >&2; exit 1; }

fuzz() {
  local name=$1 directory=$build/$1 status=0
  mkdir -p "$directory/found"
  # The first directory is added to, the second only read.
  # Swift's own report of a crash reads memory that AddressSanitizer guards.
  SWIFT_BACKTRACE=enable=no FUZZ_TARGET=$name timeout $((seconds + 120)) "$build/debug/spaceport-fuzz" -max_total_time="$seconds" -max_len=50000 -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="$directory/" "$directory/found" "Tests/Fuzz/corpus/$name" >"$directory/log" 2>&1 || status=$?
  if [ $status -ne 0 ]; then
    tail -n 60 "$directory/log" >&2
    echo "fuzz: $name failed; the input is in $directory: FUZZ_TARGET=$name $build/debug/spaceport-fuzz FILE shows it again" >&2
    return 1
  fi
  echo "fuzz: $name: $(grep -E '^(Done|stat::new_units_added)' "$directory/log" | tr '\n' ' ')"
}

failed=0
echo "fuzz: $* for $seconds s each, $jobs at the same time"
running=0
for name in "$@"; do
  if [ "$running" -ge "$jobs" ]; then
    wait -n || failed=1
    running=$((running - 1))
  fi
  fuzz "$name" &
  running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
  wait -n || failed=1
  running=$((running - 1))
done
exit $failed
