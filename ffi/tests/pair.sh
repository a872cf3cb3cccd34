#!/usr/bin/env bash
# Runs a writer and a reader of the examples against each other: pair.sh WRITER READER
set -euo pipefail
name="test-pair-$$"
# The writer publishes, says so, and ends its ring when it is told to (its input ends).
coproc "$1" "$name" 10
trap 'kill "$COPROC_PID" 2>/dev/null || true' EXIT
writer=$COPROC_PID
read -r line <&"${COPROC[0]}"
echo "$line"
"$2" "$name" 10
eval "exec ${COPROC[1]}>&-"
wait "$writer"
trap - EXIT
test ! -e "/dev/shm/qads_$name"
