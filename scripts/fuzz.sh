#!/usr/bin/env bash
# Finds every FuzzXxx of the module and fuzzes each for FUZZTIME. Fails on a finding, and if there is nothing to fuzz.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
GO=${GO:-go}
FUZZTIME=${FUZZTIME:-3s}
FUZZ_BUDGET=${FUZZ_BUDGET:-300} # seconds for all of them; compiling for fuzzing counts too

list=$("$GO" test -list '^Fuzz' ./...) || { echo "$list"; echo "fuzz: cannot list the targets"; exit 1; }
targets=$(awk '/^Fuzz/{n[++k]=$1; next} /^ok/{for(i=1;i<=k;i++) print $2, n[i]; k=0}' <<<"$list")
[ -n "$targets" ] || { echo "fuzz: found no FuzzXxx"; exit 1; }
echo "fuzz: $(wc -l <<<"$targets") targets, $FUZZTIME each"

built=$(mktemp -d) || exit 1
trap 'rm -rf "$built"' EXIT
cache=$("$GO" env GOCACHE)
failed=0
while read -r pkg name; do
  if [ "$SECONDS" -gt "$FUZZ_BUDGET" ]; then
    echo "fuzz: $name not run, the $FUZZ_BUDGET s for all targets are used up"
    [ -z "${SKIPPED:-}" ] || echo "fuzz $name: FUZZ_BUDGET of $FUZZ_BUDGET s used up" >>"$SKIPPED"
    continue
  fi
  # Built once for all targets of a package, and outside of the limit: on a busy machine that takes longer than to fuzz.
  fuzzer=$built/${pkg//\//_}
  if [ ! -x "$fuzzer" ] && ! "$GO" test -c -fuzz='^Fuzz' -o "$fuzzer" "$pkg" </dev/null; then
    echo "FAIL	$name	$pkg (build)"
    failed=1
    continue
  fi
  dir=$("$GO" list -f '{{.Dir}}' "$pkg")
  if out=$(cd "$dir" && timeout 120 "$fuzzer" -test.run='^$' -test.fuzz="^$name\$" -test.fuzztime="$FUZZTIME" -test.fuzzminimizetime=10x \
    -test.fuzzcachedir="$cache/fuzz/$pkg" 2>&1 </dev/null); then
    echo "ok  	$name	$pkg	$(grep -o 'execs: [0-9]*' <<<"$out" | tail -n 1)"
  else
    # A run that ends on time while a worker is in the middle of an input is reported as a failure by some versions of go.
    if grep -q 'context deadline exceeded' <<<"$out" && ! grep -q 'Failing input' <<<"$out"; then
      echo "ok  	$name	$pkg	(ended on time)"
      continue
    fi
    echo "$out"
    echo "FAIL	$name	$pkg"
    failed=1
  fi
done <<<"$targets"
exit "$failed"
