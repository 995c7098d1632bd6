# shellcheck shell=bash disable=SC2086,SC2154  # settings come from lib.sh and the run
# Sourced by lib.sh. The server in the guest itself: its socket, state and status lie in INNER, which each part that uses it sets.
SERVER_READY_LIMIT_TRIES=300
INNER=/srv

inner_control() { /test/spaceport "$@" --control $INNER/control.sock; }

inner_start() {
  local tries
  rm -f $INNER/status
  # the shell around it records the exit status, which the step that stops it judges
  (
    /test/spaceport serve --state-dir $INNER/state --control $INNER/control.sock --listen ${INNER_LISTEN:-unix:$INNER/nbd.sock} &
    echo $! > $INNER/pid
    wait $!
    echo $? > $INNER/status
  ) >> /out/inner-server.log 2>&1 < /dev/null &
  for ((tries = SERVER_READY_LIMIT_TRIES; tries > 0; tries--)); do
    if inner_control pool list; then return 0; fi
    if [ -s $INNER/status ]; then break; fi
    sleep 0.1
  done
  echo "the server is not ready; the end of its log:"
  tail -5 /out/inner-server.log
  return 1
}
inner_ended() { [ -s $INNER/status ]; }
inner_stop() {
  kill -TERM "$(cat $INNER/pid)" && wait_until inner_ended && cat $INNER/status && [ "$(cat $INNER/status)" = 0 ]
}
# For the end of a part that stopped early.
inner_kill() { [ ! -s $INNER/pid ] || inner_ended || { kill -KILL "$(cat $INNER/pid)" && wait_until inner_ended; }; }

# inner_attach_to NUMBER EXPORT CONNECTIONS ALL_CONNECTIONS: to /dev/nbdNUMBER; ALL_CONNECTIONS counts those of other devices too
inner_attach_to() {
  local DEVICE=/dev/nbd$1 BLOCK=/sys/block/nbd$1
  attach_until_received "$4" -unix $INNER/nbd.sock $DEVICE -N "$2" -C "$3" -b 512 -t $REQUEST_TIMEOUT_SECONDS && is_attached
}

# pool_is POOL STATE HEALTH
pool_is() { [ "$(inner_control pool list | awk -v pool="$1" '$1 == pool { print $2, $3 }')" = "$2 $3" ]; }
# pool_becomes SECONDS POOL STATE HEALTH
pool_becomes() {
  wait_for "$1" pool_is "$2" "$3" "$4" || { inner_control pool show $2; inner_control event list $2; return 1; }
}
