#!/usr/bin/env bash
# All tests of all rooms with the race detector, and beside them those of proxy once more, over TLS. Much of either is waiting.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
GO=${GO:-go}
args=(-race -shuffle=on -parallel 4 -timeout "${RACE_TIMEOUT:-9m}")

# Compiled before, or both would do it. What cannot be compiled, or has no compiler for C, is told by the tests.
"$GO" build -race ./... >/dev/null 2>&1 || true

over_tls=$(mktemp) || exit 1
trap 'rm -f "$over_tls"' EXIT
SKIPPED="" IRCFERRY_TEST_TLS=1 bash scripts/gotest.sh "${args[@]}" ./proxy >"$over_tls" 2>&1 &
# shellcheck disable=SC2046
bash scripts/gotest.sh "${args[@]}" $("$GO" list ./... | grep -v /e2e$)
status=$?
wait $!
tls=$?
echo
echo "--- proxy over TLS"
cat "$over_tls"
[ "$status" -eq 0 ] && [ "$tls" -eq 0 ]
