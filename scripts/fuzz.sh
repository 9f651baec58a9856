#!/usr/bin/env bash
# Finds every FuzzXxx of the module and fuzzes each for FUZZTIME. Fails on a finding, and if there is nothing to fuzz.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
GO=${GO:-go}
FUZZTIME=${FUZZTIME:-3s}
FUZZ_BUDGET=${FUZZ_BUDGET:-300} # seconds for all of them; compiling for fuzzing counts too

# Where there are any is read from the sources: to ask the tests themselves, all of them would be built, and not for fuzzing.
dirs=$(grep -rlE --include='*_test.go' '^func Fuzz[^a-z]' . | xargs -r -n 1 dirname | sort -u)
[ -n "$dirs" ] || { echo "fuzz: found no FuzzXxx"; exit 1; }

built=$(mktemp -d) || exit 1
trap 'rm -rf "$built"' EXIT
cache=$("$GO" env GOCACHE)
failed=0 targets=0
for dir in $dirs; do
  pkg=$("$GO" list "$dir")
  # Built once for all targets of a package, and outside of their limit: on a busy machine that takes longer than to fuzz.
  fuzzer=$built/fuzz.test
  if ! "$GO" test -c -vet=off -fuzz='^Fuzz' -o "$fuzzer" "$dir" </dev/null; then
    echo "FAIL	$pkg (build)"
    failed=1
    continue
  fi
  for name in $("$fuzzer" -test.list '^Fuzz'); do
    targets=$((targets + 1))
    if [ "$SECONDS" -gt "$FUZZ_BUDGET" ]; then
      echo "fuzz: $name not run, the $FUZZ_BUDGET s for all targets are used up"
      [ -z "${SKIPPED:-}" ] || echo "fuzz $name: FUZZ_BUDGET of $FUZZ_BUDGET s used up" >>"$SKIPPED"
      continue
    fi
    if out=$(cd "$dir" && timeout 120 "$fuzzer" -test.run='^$' -test.fuzz="^$name\$" -test.fuzztime="$FUZZTIME" -test.fuzzminimizetime=10x \
      -test.fuzzcachedir="$cache/fuzz/$pkg" 2>&1 </dev/null); then
      echo "ok  	$name	$pkg	$(grep -o 'execs: [0-9]*' <<<"$out" | tail -n 1)"
    # A run that ends on time while a worker is in the middle of an input is reported as a failure by some versions of go.
    elif grep -q 'context deadline exceeded' <<<"$out" && ! grep -q 'Failing input' <<<"$out"; then
      echo "ok  	$name	$pkg	(ended on time)"
    else
      echo "$out"
      echo "FAIL	$name	$pkg"
      failed=1
    fi
  done
done
echo "fuzz: $targets targets, $FUZZTIME each"
[ "$targets" -gt 0 ] || { echo "fuzz: found no FuzzXxx"; exit 1; }
exit "$failed"
