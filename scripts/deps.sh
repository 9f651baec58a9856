#!/usr/bin/env bash
# Installs the Debian packages that the tests (test) and the benchmarks (bench) use. Never fails because a package cannot be
# had: it says which one and what is skipped without it, and the tests say so again.
#
#   scripts/deps.sh [test] [bench]
set -uo pipefail

# command, or path of a file | package | without it
table_test='
gcc|gcc libc6-dev|the race detector
inspircd|inspircd|e2e: InspIRCd behind the proxy
/usr/include/inspircd/inspircd.h|inspircd-dev|e2e: users of InspIRCd are moved
g++|g++|e2e: users of InspIRCd are moved
ngircd|ngircd|e2e: ngIRCd behind the proxy
weechat-headless|weechat-headless|e2e: WeeChat stays through moves
irssi|irssi|e2e: irssi stays through moves
tmux|tmux|e2e: irssi stays through moves
sic|sic|e2e: sic stays through moves
haproxy|haproxy|e2e: HAProxy as the balancer before us
openssl|openssl|e2e: OpenSSL as a client over TLS
gnutls-cli|gnutls-bin|e2e: GnuTLS as a client over TLS
anope|anope|e2e: links with Anope are held
atheme-services|atheme-services|e2e: links with Atheme are held
mmdebstrap|mmdebstrap debian-archive-keyring|e2e: InspIRCd 4
chromium|chromium fonts-dejavu-core|e2e: the status page in a browser
/lib/systemd/systemd|systemd|e2e: the units under systemd
'
table_bench='
haproxy|haproxy|bench: the proxy to compare with
taskset|util-linux|bench: pinning to cores
inspircd|inspircd|bench: users of InspIRCd replaced
/usr/include/inspircd/inspircd.h|inspircd-dev|bench: users of InspIRCd replaced
g++|g++|bench: users of InspIRCd replaced
'

# What is run out of a root of Debian 13, because Debian 12 has it in older versions only (scripts/trixie.sh): packages | without them
trixie_test='
inspircd inspircd-dev g++ libfmt-dev|e2e: InspIRCd 4
anope|e2e: links with a newer Anope are held
atheme-services|e2e: links with a newer Atheme are held
systemd-standalone-sysusers lintian mandoc bash-completion zsh fish|e2e: the Debian package in a clean root
'

# Packages that conflict with others here, which are unpacked aside and run from there by tests in a mount namespace:
# path below the directory | packages | without it
aside=/usr/local/lib/ircferry-deps
table_aside='
usr/sbin/ircd-hybrid|ircd-hybrid libltdl7|e2e: ircd-hybrid behind the proxy
'

rows="" trixie=""
for set in "${@:-test}"; do
  case "$set" in
    test) rows+="$table_test" trixie+="$trixie_test" ;;
    bench) rows+="$table_bench" ;;
    *) echo "deps: unknown set $set (test, bench)" >&2; exit 2 ;;
  esac
done

have() {
  # gcc alone has no headers of the C library, and the race detector links against it.
  if [ "$1" = gcc ] && [ ! -e /usr/include/stdlib.h ]; then return 1; fi
  case "$1" in /*) [ -e "$1" ]; return ;; esac
  PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1
}
missing_aside() { # prints the rows that are not unpacked, for the tests only
  case " ${*:-test} " in *" test "*) ;; *) return 0 ;; esac
  while IFS='|' read -r path pkg without; do
    [ -n "$path" ] && [ ! -e "$aside/$path" ] && printf '%s|%s|%s\n' "$aside/$path" "$pkg" "$without"
  done <<<"$table_aside"
  return 0
}
missing() { # prints the rows whose command is not there
  while IFS='|' read -r cmd pkg without; do
    [ -n "$cmd" ] && ! have "$cmd" && printf '%s|%s|%s\n' "$cmd" "$pkg" "$without"
  done <<<"$rows"
  return 0
}
tell_skipped() {
  { missing; missing_aside "$@"; } | while IFS='|' read -r cmd pkg without; do echo "deps: no $cmd (package $pkg): skipped is $without"; done
}

# Each set by itself: what one of them lacks is no reason to go without the others.
of_trixie() {
  local packages without reason
  while IFS='|' read -r packages without; do
    [ -n "$packages" ] || continue
    # shellcheck disable=SC2086
    reason=$(bash "$(dirname "${BASH_SOURCE[0]}")/trixie.sh" $packages 2>&1 >/dev/null) && continue
    echo "deps: no Debian 13 with ${packages// /, } (package mmdebstrap): skipped is $without: $(tail -n 1 <<<"$reason")"
  done <<<"$trixie"
}

if [ -z "$(missing)$(missing_aside "$@")" ]; then of_trixie; echo "deps: all there on this Debian"; exit 0; fi
if ! command -v apt-get >/dev/null 2>&1; then echo "deps: no apt-get here, nothing installed"; tell_skipped "$@"; of_trixie; exit 0; fi
if [ "$(id -u)" -ne 0 ]; then
  echo "deps: not root, nothing installed; run: sudo apt-get install --no-install-recommends $(missing | cut -d'|' -f2 | tr ' ' '\n' | sort -u | xargs)"
  tell_skipped "$@"
  of_trixie
  exit 0
fi

# Installing an ircd must not start it: policy-rc.d denies it for the time of the installation, unless there is one already.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi

export DEBIAN_FRONTEND=noninteractive
apt=(apt-get -q -y -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o DPkg::Lock::Timeout=120)
echo "deps: apt-get update"
"${apt[@]}" update >/dev/null 2>&1 || echo "deps: apt-get update did not go through, trying with what the index has"

# One by one after a try for all at once, because one name that the index does not have stops all others.
wanted=$(missing | cut -d'|' -f2 | tr ' ' '\n' | sort -u | xargs)
echo "deps: installing $wanted"
# shellcheck disable=SC2086
if [ -n "$wanted" ] && ! "${apt[@]}" install --no-install-recommends $wanted </dev/null >/dev/null 2>&1; then
  for pkg in $wanted; do
    "${apt[@]}" install --no-install-recommends "$pkg" </dev/null >/dev/null 2>&1 || echo "deps: cannot install $pkg"
  done
fi
missing_aside "$@" | while IFS='|' read -r _ pkgs _; do
  echo "deps: unpacking $pkgs into $aside"
  at=$(mktemp -d) && chmod 755 "$at" && mkdir -p "$aside" || exit
  # shellcheck disable=SC2086
  (cd "$at" && "${apt[@]}" download $pkgs </dev/null >/dev/null 2>&1 && for deb in *.deb; do dpkg -x "$deb" "$aside"; done) || echo "deps: cannot unpack $pkgs"
  rm -rf "$at"
done
tell_skipped "$@"
of_trixie
[ -n "$(missing)$(missing_aside "$@")" ] || echo "deps: all there on this Debian now"
exit 0
