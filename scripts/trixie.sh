#!/usr/bin/env bash
# Debian 13 (trixie) in a root of its own, for programs that this machine's Debian has in older versions only. Made once, kept outside of
# the tree, and shared by all who ask: packages that are missing are installed into it.
#
#   scripts/trixie.sh [PACKAGE...]          prints the root's path when all are in it; NAME/trixie-backports takes one from there
#   scripts/trixie.sh --have [PACKAGE...]   the same, but makes and installs nothing
#
#   IRCFERRY_TRIXIE=DIR   the root; without it /var/cache/ircferry/trixie, or ircferry/trixie in the cache of another user who has one
#
# Exit 1, with the reason on stderr, where it cannot be had. Making it takes a minute and 500 MB. The mirror is the one that this machine's
# own apt uses. A program of it needs no chroot: run it by the root's ld.so (lib64/ld-linux-x86-64.so.2 --library-path ... PROGRAM).
set -uo pipefail

say() { echo "trixie: $*" >&2; }
fail() { say "$@"; exit 1; }

make=yes
if [ "${1:-}" = --have ]; then make=""; shift; fi

root=/var/cache/ircferry/trixie
own=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/ircferry/trixie
if [ "$(id -u)" -ne 0 ] && [ -d "$own" ]; then root=$own; fi
root=${IRCFERRY_TRIXIE:-$root}
case "$root" in /*) ;; *) fail "IRCFERRY_TRIXIE is $root: an absolute path is needed" ;; esac

# missing PACKAGE... prints those that are not installed in the root.
missing() {
  local p version
  for p in "$@"; do
    version=$(dpkg-query --admindir="$root/var/lib/dpkg" -W -f='${db:Status-Status} ${Version}\n' "${p%%/*}" 2>/dev/null) || version=""
    case "$p|$version" in
      */*-backports\|installed\ *~bpo*) ;;
      */*-backports\|*) echo "$p" ;;
      *\|installed\ *) ;;
      *) echo "$p" ;;
    esac
  done
}

done_if_there() {
  if [ -e "$root/etc/apt/sources.list" ] && [ -z "$(missing "$@")" ]; then echo "$root"; exit 0; fi
}

command -v dpkg-query >/dev/null || fail "no dpkg here"
done_if_there "$@"
[ -n "$make" ] || fail "no $(if [ -d "$root" ]; then missing "$@" | xargs; else echo root; fi) in $root: make deps, as root"
[ "$(id -u)" -eq 0 ] || fail "not root, so nothing can be installed into $root"
command -v mmdebstrap >/dev/null || fail "no mmdebstrap here: apt-get install mmdebstrap"

mkdir -p "$(dirname "$root")" || fail "no directory for $root"
exec 9>"$root.lock" && flock 9 || fail "$root.lock cannot be locked"
done_if_there "$@" # somebody else has made it meanwhile

# What the installing prints is for whoever looks for why it went wrong.
log=$root.log
failed() { tail -n 5 "$log" >&2; fail "$* (all of it is in $log)"; }

if [ ! -e "$root/etc/apt/sources.list" ]; then
  mirror=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(CREATED_BY)|$(REPO_URI)' 2>/dev/null | sed -n 's/^Debian|Debian|Packages|//p' | head -n 1)
  [ -n "$mirror" ] || fail "apt here knows no mirror of Debian (apt-get update?)"
  options=()
  for scheme in http https; do
    proxy=$(apt-config dump --format '%v%n' "Acquire::$scheme::Proxy" 2>/dev/null | head -n 1)
    [ -z "$proxy" ] || options+=(--aptopt="Acquire::$scheme::Proxy \"$proxy\"")
  done
  say "making $root"
  rm -rf "$root.new"
  # backports are there to be asked for by name: apt takes nothing from them by itself.
  mmdebstrap --quiet --variant=apt --aptopt='Acquire::Retries "2"' --aptopt='Acquire::http::Timeout "20"' "${options[@]}" \
    trixie "$root.new" "deb $mirror trixie main" "deb $mirror trixie-backports main" >"$log" 2>&1 </dev/null || {
    rm -rf "$root.new"
    failed "mmdebstrap could not make it"
  }
  printf '#!/bin/sh\nexit 101\n' >"$root.new/usr/sbin/policy-rc.d" && chmod +x "$root.new/usr/sbin/policy-rc.d" # nothing of it is a service
  mv -T "$root.new" "$root" || fail "$root.new cannot become $root"
fi

inside() { # in a namespace of its own, so that no mount outlives it
  unshare --mount --propagation private sh -c 'mount -t proc proc "$0/proc" 2>/dev/null; exec chroot "$0" "$@"' "$root" \
    env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@" </dev/null >>"$log" 2>&1
}

wanted=$(missing "$@" | xargs)
if [ -n "$wanted" ]; then
  say "installing $wanted into $root"
  : >"$log"
  cp -L /etc/resolv.conf /etc/hosts "$root/etc/" 2>>"$log"
  inside apt-get -q update || say "apt-get update did not go through, trying with what the index has"
  # shellcheck disable=SC2086
  inside apt-get -q -y install --no-install-recommends $wanted || failed "cannot install $wanted"
  inside apt-get clean
fi
done_if_there "$@"
fail "still no $(missing "$@" | xargs) in $root"
