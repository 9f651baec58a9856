#!/usr/bin/env bash
# go test with the given arguments, read by scripts/testreport. Without a C compiler it goes without the race detector and says so.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
GO=${GO:-go}

args=()
for a in "$@"; do
  if [ "$a" = -race ] && ! { command -v "$("$GO" env CC)" && [ -e /usr/include/stdlib.h ]; } >/dev/null 2>&1; then
    echo "no C compiler: testing without the race detector"
    [ -z "${SKIPPED:-}" ] || echo "race detector: no C compiler (package gcc)" >>"$SKIPPED"
    continue
  fi
  args+=("$a")
done

mkdir -p bin
CGO_ENABLED=0 "$GO" build -o bin/testreport.$$ ./scripts/testreport && mv bin/testreport.$$ bin/testreport || exit 1
# Without vet, of which go test runs a part for each package: make vet runs all of it.
"$GO" test -json -vet=off "${args[@]}" 2>&1 | ./bin/testreport
status=("${PIPESTATUS[@]}")
# Either may know of a failure that the other does not: go of one outside of a test, testreport of a crash in its output.
[ "${status[0]}" -eq 0 ] && [ "${status[1]}" -eq 0 ]
