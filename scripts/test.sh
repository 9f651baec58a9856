#!/usr/bin/env bash
# All that CI runs, step by step. A red step fails the whole, but the later steps still run, so that one run shows all there is.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

SKIPPED=$(mktemp) || exit 1
export SKIPPED
trap 'rm -f "$SKIPPED"' EXIT

bash scripts/deps.sh test | tee /dev/stderr | sed -n 's/^deps: no \(.*\): skipped is /\1: /p' >>"$SKIPPED"

red=""
table=""
for step in fmt build vet lint race fuzz e2e; do
  echo
  echo "=== make $step"
  begin=$SECONDS
  if make --no-print-directory "$step"; then result=ok; else result=FAILED red="$red $step"; fi
  table+=$(printf '%-6s %-6s %4d s' "$step" "$result" $((SECONDS - begin)))$'\n'
done

echo
echo "=== summary"
printf '%s' "$table"
if [ -s "$SKIPPED" ]; then
  echo "skipped, with the reason:"
  # One line for each reason, with the first that it holds for.
  sort -u "$SKIPPED" | awk -F': ' '{
    reason = substr($0, length($1) + 3)
    if (!(reason in n)) { order[++reasons] = reason; first[reason] = $1 }
    n[reason]++
  } END {
    for (i = 1; i <= reasons; i++) {
      r = order[i]
      more = ""
      if (n[r] > 1) more = " and " (n[r] - 1) " more"
      print "  " first[r] more ": " r
    }
  }'
else
  echo "skipped: nothing"
fi
if [ -n "$red" ]; then echo "FAIL: make test: red:$red"; exit 1; fi
echo "PASS: make test in $SECONDS s"
