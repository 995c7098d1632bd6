#!/bin/bash
# QEMU runs this on the host for every 'host WORD' of the guest: one line of words on stdin, the answer and "rc=N" on stdout.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=server.sh
. "$here/server.sh"
read -r word
case $word in
  server-start) server_start 2>&1 ;;
  server-stop) server_stop 2>&1 ;;
  server-kill) server_kill 2>&1 ;;
  server-restart) { server_stop && server_start; } 2>&1 ;;
  *) echo "host: what is '$word'?"; false ;;
esac
echo "rc=$?"
