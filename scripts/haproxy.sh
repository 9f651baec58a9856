#!/usr/bin/env bash
# Prints the path of the newest HAProxy that can be had, and says on stderr which one and why.
#
#   HAPROXY=/path/to/haproxy   take this one
#   HAPROXY_SUITES="..."       Debian's suites to look into (default: trixie trixie-backports testing; "": only what is installed)
#
# A newer one than the machine's own is unpacked with its libraries below the user's cache, nothing of it is installed. It runs with its own
# C library, so that its suite need not be the machine's. The mirror is the one that the machine's apt uses.
set -uo pipefail

say() { echo "haproxy: $*" >&2; }
version() { "$1" -v 2>/dev/null | sed -n 's/^HA-\{0,1\}Proxy version \([0-9.]*\).*/\1/p'; }
newer() { [ -n "$1" ] && [ "$1" != "$2" ] && [ "$(printf '%s\n' "$1" "$2" | sort -V | tail -n 1)" = "$1" ]; }
chosen() { say "$(version "$1"), $2"; echo "$1"; exit 0; }

if [ -n "${HAPROXY:-}" ]; then
  [ -n "$(version "$HAPROXY")" ] || { say "HAPROXY=$HAPROXY does not run, or is no HAProxy"; exit 1; }
  chosen "$HAPROXY" "$HAPROXY, as HAPROXY= says"
fi

installed=$(PATH="$PATH:/usr/sbin:/sbin" command -v haproxy) || installed=""
have=""
[ -z "$installed" ] || have=$(version "$installed")
fallback() { # with the reason why there is no newer one
  [ -n "$have" ] || { say "none: $1"; exit 1; }
  chosen "$installed" "the machine's own; no newer one: $1"
}

suites=${HAPROXY_SUITES-trixie trixie-backports testing}
[ -n "$suites" ] || fallback "HAPROXY_SUITES is empty"
for tool in apt-get apt-cache dpkg-deb dpkg; do
  command -v $tool >/dev/null || fallback "$tool is not there"
done

cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ircferry/haproxy
mkdir -p "$cache/lists/partial" "$cache/archives/partial" || fallback "cannot write to $cache"
mirror=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 2>/dev/null | awk -F'|' '$1 == "Debian" && $2 == "Debian" { print $3; exit }')
[ -n "$mirror" ] || fallback "apt knows no mirror of Debian (apt-get update?)"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
{
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n' "$mirror" "$suites"
  [ ! -e "$keys" ] || printf 'Signed-By: %s\n' "$keys"
} >"$cache/debian.sources"
: >"$cache/status" # nothing is installed there

apt=(-q -o "Dir::Etc::SourceList=$cache/debian.sources" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$cache/lists" -o "Dir::Cache=$cache"
  -o "Dir::State::status=$cache/status" -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
  -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o APT::Sandbox::User=root)
# The indexes of some hours ago will do.
if [ -z "$(find "$cache/updated" -mmin -720 2>/dev/null)" ] || [ "$(cat "$cache/updated")" != "$suites" ]; then
  apt-get "${apt[@]}" update >"$cache/log" 2>&1 && echo "$suites" >"$cache/updated" || say "apt-get update for $suites did not go through, see $cache/log"
fi
best=$(apt-cache "${apt[@]}" madison haproxy 2>/dev/null | awk '{ print $3 }' | sort -V | tail -n 1)
[ -n "$best" ] || fallback "no haproxy in $suites"
newer "${best%%-*}" "$have" || fallback "$suites have $best"

root=$cache/$best
run=$root/haproxy
if [ -z "$(version "$run")" ]; then
  # It and its libraries; of what else a package asks for (adduser, passwd) it needs nothing to run here.
  want=$(apt-get "${apt[@]}" -y -s install --no-install-recommends "haproxy=$best" 2>>"$cache/log" |
    awk '$1 == "Inst" && $2 ~ /^(lib|zlib|haproxy$)/ { gsub(/[()\[\]]/, "", $3); print $2 "=" $3 }')
  if [ -z "$want" ]; then # of another suite than the other packages would come from
    want=$(apt-cache "${apt[@]}" depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances haproxy |
      grep -E '^(lib|zlib|haproxy$)' | sort -u)
  fi
  rm -rf "$root.new" && mkdir -p "$root.new" || fallback "cannot write to $cache"
  # shellcheck disable=SC2086
  (cd "$cache/archives" && apt-get "${apt[@]}" download $want) >>"$cache/log" 2>&1 || fallback "cannot download $best and its libraries, see $cache/log"
  for deb in "$cache"/archives/*.deb; do
    dpkg-deb -x "$deb" "$root.new" || fallback "cannot unpack $deb"
  done
  rm -f "$cache"/archives/*.deb
  rm -rf "$root" && mv "$root.new" "$root"
  loader=$(find "$root" -name 'ld-linux*.so*' | head -n 1)
  libraries=$(find "$root/lib" "$root/usr/lib" -name 'lib*.so.*' -printf '%h\n' 2>/dev/null | sort -u | paste -sd:)
  printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' "$loader" "$libraries" "$root/usr/sbin/haproxy" >"$run" && chmod +x "$run"
fi
newer "$(version "$run")" "$have" || fallback "$best of Debian does not run here: $("$run" -v 2>&1 | head -n 1)"
chosen "$run" "Debian's $best, unpacked in $root"
