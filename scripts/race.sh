#!/usr/bin/env bash
# All tests of all rooms with the race detector, and beside them those of proxy once more, over TLS, and those of the daemon in two halves: they wait
# more than they work, one after the other. One that cannot be had with the detector goes without.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
GO=${GO:-go}
DAEMON=./cmd/ircferry
args=(-race -shuffle=on -parallel 4 -timeout "${RACE_TIMEOUT:-12m}")

# Compiled before, or all would do it. What cannot be compiled, or has no compiler for C, is told by the tests.
"$GO" build -race ./... >/dev/null 2>&1 || true

outputs=$(mktemp -d) || exit 1
trap 'rm -rf "$outputs"' EXIT
jobs=() names=()
beside() { # NAME COMMAND...: runs it in the background, and shows at the end what it said
  local name=$1
  shift
  "$@" >"$outputs/${#jobs[@]}" 2>&1 &
  jobs+=("$!")
  names+=("$name")
}

SKIPPED="" IRCFERRY_TEST_TLS=1 beside "proxy over TLS" bash scripts/gotest.sh "${args[@]}" ./proxy
# With the race detector it is skipped: the detector's own memory would be measured.
SKIPPED="" beside "memory of the keeper" bash scripts/gotest.sh -count=1 -run '^TestMemoryOfTheProcess$' ./internal/keeper
# Every second test is of one half.
mapfile -t tests < <("$GO" test -race -list . "$DAEMON" 2>/dev/null | grep '^\(Test\|Fuzz\|Example\)')
halves=("" "")
for i in "${!tests[@]}"; do halves[i % 2]+="|${tests[i]}"; done
if [ "${#tests[@]}" -gt 1 ]; then
  for i in 0 1; do beside "$DAEMON, half $((i + 1))" bash scripts/gotest.sh "${args[@]}" -run "^(${halves[i]#|})\$" "$DAEMON"; done
else # it does not compile: that is told once
  beside "$DAEMON" bash scripts/gotest.sh "${args[@]}" "$DAEMON"
fi

# shellcheck disable=SC2046
bash scripts/gotest.sh "${args[@]}" -p 1 $("$GO" list ./... | grep -v -e /e2e$ -e "${DAEMON#.}\$")
status=$?
for i in "${!jobs[@]}"; do
  wait "${jobs[i]}" || status=1
  echo
  echo "--- ${names[i]}"
  cat "$outputs/$i"
done
exit "$status"
