# shellcheck shell=bash
# Sourced by run.sh and by host-hook.sh, which are different processes: all state is in files.
# Starts, stops and kills the server on the host. Wants in its environment:
#   WORK        directory of this run: state, control socket, disks, server.pid, server.status
#   OUT         where server.log goes
#   PORT        loopback TCP port to serve on
#   SPACEPORT   the program under test, or
#   SERVER_CMD  a shell command that serves on 127.0.0.1:$PORT in its place (run.sh --server-cmd)

# A server may wait for its disks: 30 s is spaceport's own limit for that.
SERVER_START_LIMIT_SECONDS=45
SERVER_STOP_LIMIT_SECONDS=20

# No call of the control socket takes longer than the server's own wait for its disks.
CONTROL_LIMIT_SECONDS=45

control() { timeout -k 5 "$CONTROL_LIMIT_SECONDS" "$SPACEPORT" "$@" --control "$WORK/control.sock"; }

server_is_ready() {
  if [ -n "$SERVER_CMD" ]; then
    (: < "/dev/tcp/127.0.0.1/$PORT") 2>/dev/null
  else
    CONTROL_LIMIT_SECONDS=5 control pool list > "$WORK/pool-list.txt" 2>&1
  fi
}

# 0 while the server's process lives; it is in a process group of its own
server_is_running() { [ -s "$WORK/server.pid" ] && kill -0 -- "-$(cat "$WORK/server.pid")" 2>/dev/null; }

# Does nothing when it is already running.
server_start() {
  local command deadline
  if server_is_running; then return 0; fi
  rm -f "$WORK/server.pid" "$WORK/server.status"
  command=$SERVER_CMD
  if [ -z "$command" ]; then
    # shellcheck disable=SC2016  # expanded by the shell that becomes the server
    command='exec "$SPACEPORT" serve --state-dir "$WORK/state" --control "$WORK/control.sock" \
      --listen "unix:$WORK/nbd.sock" --listen "tcp:127.0.0.1:$PORT"'
  fi
  echo "--- server start" >> "$OUT/server.log"
  # The outer shell stays as the server's parent: it records the exit status, and some servers end when their parent does.
  # shellcheck disable=SC2016
  setsid bash -c 'setsid bash -c "$1" & echo $! > "$WORK/server.pid"; wait $!; echo $? > "$WORK/server.status"' \
    server-keeper "$command" >> "$OUT/server.log" 2>&1 < /dev/null &
  deadline=$((SECONDS + SERVER_START_LIMIT_SECONDS))
  while [ $SECONDS -lt $deadline ]; do
    if [ -s "$WORK/server.status" ]; then
      echo "the server ended with status $(cat "$WORK/server.status") instead of serving; the end of its log:"
      tail -5 "$OUT/server.log"
      return 1
    fi
    if server_is_ready; then return 0; fi
    sleep 0.1
  done
  echo "the server did not get ready within $SERVER_START_LIMIT_SECONDS s"
  return 1
}

# server_end SIGNAL: send it, and wait until the server and its recorded status are there
server_end() {
  local group tries
  if ! server_is_running; then
    echo "the server is not running, its status was: $(cat "$WORK/server.status" 2>/dev/null)"
    return 1
  fi
  group=$(cat "$WORK/server.pid")
  kill "-$1" -- "-$group"
  for ((tries = SERVER_STOP_LIMIT_SECONDS * 10; tries > 0; tries--)); do
    if [ -s "$WORK/server.status" ] && ! server_is_running; then return 0; fi
    sleep 0.1
  done
  echo "SIG$1 did not end the server within $SERVER_STOP_LIMIT_SECONDS s; killed"
  kill -KILL -- "-$group"
  return 1
}

# In order: SIGTERM, and the exit status must be 0.
server_stop() {
  local status
  server_end TERM || return 1
  status=$(cat "$WORK/server.status")
  if [ "$status" != 0 ]; then
    echo "SIGTERM ended the server with status $status, not 0"
    return 1
  fi
}

# As a crash: nothing is finished, nothing is written back by the server.
server_kill() { server_end KILL; }

# For the end of a run, whatever state it is in; waits until nothing writes to WORK any more
server_clean_up() {
  if server_is_running; then server_end KILL || true; fi
}
