#!/usr/bin/env bash
# Measures ircferry beside HAProxy in the same run; see scripts/bench/main.go for what and how.
#
#   BENCH=idle,burst,sparse,sat,fan,new,move,inspircd,links,tls-idle,tls-burst,tls-sparse,tls-sat,tls-new   the parts to run (default: all)
#   ROUNDS=2                             rounds of A B B A for each part (of CPU: ten times as many, a second a turn)
#   PROXIES=haproxy,ircferry             what to run
#   HAPROXY=, HAPROXY_SUITES=            which HAProxy: scripts/haproxy.sh says how the newest is found
#   BEFORE=path/to/ircferry              a binary of another commit, which takes turns with them: the second table is after beside before
#   QUIET=0.2                            turns during which others use more cores than this are taken again
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/deps.sh bench
mkdir -p bin
haproxy=""
if [[ ,${PROXIES:-haproxy,ircferry}, == *,haproxy,* ]]; then haproxy=$(bash scripts/haproxy.sh) || { [ -z "${HAPROXY:-}" ] || exit 1; haproxy=""; }; fi
if [ -n "${BEFORE:-}" ] && ! [ -x "$BEFORE" ]; then echo "bench: BEFORE=$BEFORE is no binary that can be run" >&2; exit 1; fi
"${GO:-go}" build -o bin/bench ./scripts/bench
if [[ ,${BENCH:-inspircd}, == *,inspircd,* || ,${BENCH:-}, == *,links,* ]]; then make --no-print-directory modules || echo "bench: no m_handoff: the parts inspircd and links are left out"; fi

pin=()
if command -v taskset >/dev/null && [ "$(nproc)" -ge 2 ]; then pin=(taskset -c 0); fi
ulimit -n "$(ulimit -H -n)" 2>/dev/null || true
exec "${pin[@]}" bin/bench -bin bin -parts "${BENCH:-idle,burst,sparse,sat,fan,new,move,inspircd,links,tls-idle,tls-burst,tls-sparse,tls-sat,tls-new}" -rounds "${ROUNDS:-2}" -quiet "${QUIET:-0.2}" -haproxy "$haproxy" -before "${BEFORE:-}" -proxies "${PROXIES:-haproxy,ircferry}"
