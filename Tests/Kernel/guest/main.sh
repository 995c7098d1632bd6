#!/bin/bash
# Runs the parts named in PARTS, one after the other. Exit status 0: every step of every part passed.
# shellcheck source=lib.sh
. /test/lib.sh
modprobe nbd nbds_max=4 max_part=8 || exit 1
for part in $PARTS; do
  echo "part $part"
  leave_nothing_attached
  # a part stops at a step it cannot go on without; the next one starts afresh
  "part_$part" || echo "    | part $part ends here"
done
leave_nothing_attached
echo "$PARTS" > /out/parts-done.txt
! grep -qv '^ok ' /out/steps.txt
