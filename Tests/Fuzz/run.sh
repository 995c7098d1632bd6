#!/bin/bash
# Coverage-guided fuzzing of the parsers of what comes from outside. Each target is a file here with a function LLVMFuzzerTestOneInput, compiled
# together with the sources it fuzzes, and a corpus of seeds. What a run finds beyond the seeds is kept in .build/fuzz for the next one.
#
#   run.sh SECONDS [TARGET]     all targets, or one, for so long each
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-60}
only=${2:-}
swiftc=${SWIFTC:-swiftc}

# name | the fuzzed sources | its own file
targets='partition-table|Sources/PartitionTable/*.swift|Tests/Fuzz/PartitionTableFuzz.swift'

fuzz() {
  local name=$1 sources=$2 file=$3 directory=.build/fuzz/$1
  mkdir -p "$directory/found"
  # As fast as can be, with every overflow, bound and assertion trapping.
  # shellcheck disable=SC2086
  timeout 600 "$swiftc" -O -assert-config Debug -sanitize=fuzzer,address -parse-as-library -swift-version 6 -module-name Fuzz \
    -enable-upcoming-feature NonisolatedNonsendingByDefault -enable-upcoming-feature ExistentialAny \
    $sources "$file" -o "$directory/fuzz" >"$directory/build-log" 2>&1 || { cat "$directory/build-log" >&2; exit 1; }
  echo "fuzz: $name for $seconds s"
  # The first directory is added to, the second only read.
  timeout $((seconds + 120)) "$directory/fuzz" -max_total_time="$seconds" -max_len=50000 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$directory/" "$directory/found" "Tests/Fuzz/corpus/$name" >"$directory/log" 2>&1 || {
    tail -n 40 "$directory/log" >&2
    echo "fuzz: $name failed; the input is in $directory, give it to $directory/fuzz to see it again" >&2
    exit 1
  }
  grep -E '^(Done|stat::number_of_executed_units|stat::new_units_added)' "$directory/log"
}

found=
while IFS='|' read -r name sources file; do
  if [ -z "$only" ] || [ "$only" = "$name" ]; then
    found=yes
    fuzz "$name" "$sources" "$file"
  fi
done <<<"$targets"
[ -n "$found" ] || { echo "fuzz: there is no target $only" >&2; exit 1; }
