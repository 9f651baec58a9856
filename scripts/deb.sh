#!/usr/bin/env bash
# Builds the Debian package of ircferry: dist/ircferry_VERSION_ARCH.deb. The same commit gives the same file, byte for byte.
#
#   scripts/deb.sh             builds it and prints its path
#   scripts/deb.sh --version   prints the version that it would have
#
#   VERSION=v1.2.3          without it what git describe says: 1.2.3, 1.2.3+4.gHASH behind a tag, 0~gitDATE.HASH without any
#   SOURCE_DATE_EPOCH=N     the date of all in it; without it the commit's
#   GOARCH=arm64            another architecture than this machine's
#   DIST=DIR                where to, instead of dist
#   DEB_COMPRESS=none       how dpkg-deb compresses it; default xz
#   DEBFULLNAME, DEBEMAIL   whom the package names as its maintainer
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022

fail() { echo "deb: $*" >&2; exit 1; }

GO=${GO:-go}
VERSION=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo unknown)}
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || true)}
[[ $epoch =~ ^[0-9]+$ ]] || fail "SOURCE_DATE_EPOCH=$epoch, and git knows no date of a commit: seconds since 1970 are needed"
export SOURCE_DATE_EPOCH=$epoch TZ=UTC LC_ALL=C.UTF-8

# debian_version: Debian compares ~ as before and + as behind what stands alone.
debian_version() {
  local v=$VERSION dirty=""
  case "$v" in *-dirty) v=${v%-dirty} dirty=+dirty ;; esac
  if [[ $v =~ ^v?([0-9]+\.[0-9.]+)(-(.+))?$ ]]; then
    local base=${BASH_REMATCH[1]} rest=${BASH_REMATCH[3]} behind=""
    if [[ $rest =~ ^((.*)-)?([0-9]+)-(g[0-9a-f]+)$ ]]; then rest=${BASH_REMATCH[2]} behind=+${BASH_REMATCH[3]}.${BASH_REMATCH[4]}; fi
    v=$base${rest:+"~${rest//-/.}"}$behind$dirty
  elif [[ $v =~ ^[0-9a-f]{7,}$ ]]; then
    v="0~git$(date -d "@$epoch" +%Y%m%d%H%M%S).$v$dirty"
  fi
  [[ $v =~ ^[0-9][A-Za-z0-9.+~]*$ ]] || fail "VERSION=$VERSION is no version of Debian's; say one that is: VERSION=1.2.3"
  echo "$v"
}

version=$(debian_version)
if [ "${1:-}" = --version ]; then echo "$version"; exit 0; fi
command -v dpkg-deb >/dev/null || fail "no dpkg-deb here: apt-get install dpkg"

arch=$("$GO" env GOARCH)
case "$arch" in 386) arch=i386 ;; arm) arch=armhf ;; ppc64le) arch=ppc64el ;; esac
dist=${DIST:-dist}
mkdir -p "$dist"
work=$(mktemp -d "$dist/deb.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root share=$work/root/usr/share doc=$work/root/usr/share/doc/ircferry
maintainer="${DEBFULLNAME:-ircferry maintainers} <${DEBEMAIL:-maintainers@ircferry.invalid}>"

# put MODE FILE TO
put() { install -D -m "$1" "$2" "$root/$3"; }

programs() {
  CGO_ENABLED=0 "$GO" build -trimpath -ldflags "-s -w -X github.com/ircferry/ircferry/admin.release=$VERSION" -o "$work/bin/" ./cmd/ircferry ./cmd/ferryctl
  put 0755 "$work/bin/ircferry" usr/bin/ircferry
  put 0755 "$work/bin/ferryctl" usr/bin/ferryctl
  local program
  for program in ircferry ferryctl; do # these run here, whatever the package is for
    GOOS='' GOARCH='' CGO_ENABLED=0 "$GO" run -trimpath -tags manual "./cmd/$program" "$share" "$version"
  done
  gzip -9n "$share"/man/man*/*
}

# What is linked into the programs, with the licences that ask to go along.
libraries() {
  local module dir file
  {
    printf 'The Go programs of this package contain these libraries.\n'
    printf '\n=== the Go standard library, %s\n\n' "$("$GO" env GOVERSION)"
    cat "$("$GO" env GOROOT)/LICENSE"
    "$GO" list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/ircferry ./cmd/ferryctl | sort -u |
      while read -r module file dir; do
        printf '\n=== %s %s\n' "$module" "$file"
        for file in "$dir"/LICENSE* "$dir"/NOTICE*; do
          [ ! -e "$file" ] || { echo; cat "$file"; }
        done
      done
  } | gzip -9n >"$doc/libraries.txt.gz"
}

# The units run as the user that the package makes, who is there before the daemon is: the configuration belongs to his group.
units=()
configuration() {
  local unit
  for unit in configs/*.service configs/*.socket; do
    [ -e "$unit" ] || continue
    sed '/^DynamicUser=/d; s/^# A user of its own, made by systemd\./# A user of its own, made by systemd-sysusers./' "$unit" >"$work/unit"
    put 0644 "$work/unit" "usr/lib/systemd/system/${unit##*/}"
    units+=("${unit##*/}")
  done
  put 0644 configs/ircferry.sysusers usr/lib/sysusers.d/ircferry.conf
  put 0640 configs/ircferry.yaml etc/ircferry/ircferry.yaml
}

# Documents lie as in the tree, so that the links from one to another hold.
documents() {
  local file
  for file in README.md docs/*.md admin/API.md handoff/protocol/HANDOFF.md handoff/ircds/*/README.md $(find configs -mindepth 2 -type f | sort); do
    put 0644 "$file" "usr/share/doc/ircferry/$file"
  done
  ln -s configs "$doc/examples"
  put 0644 configs/prometheus-alerts.yaml usr/share/ircferry/prometheus-alerts.yaml
  put 0644 configs/grafana-dashboard.json usr/share/ircferry/grafana-dashboard.json
  for file in $(cd handoff/ircds && find inspircd ergo -type f \( -name '*.h' -o -name '*.cpp' -o -path 'ergo/_irc/*.go' ! -name '*_test.go' \) | sort); do
    put 0644 "handoff/ircds/$file" "usr/share/ircferry/$file"
  done
  put 0644 handoff/ircds/inspircd/COPYING usr/share/ircferry/inspircd/COPYING
  put 0644 handoff/ircds/ergo/LICENSE usr/share/ircferry/ergo/LICENSE
  put 0644 scripts/deb/README.Debian usr/share/doc/ircferry/README.Debian
  put 0644 scripts/deb/copyright usr/share/doc/ircferry/copyright
  put 0644 scripts/deb/lintian-overrides usr/share/lintian/overrides/ircferry
  {
    printf 'ircferry (%s) unstable; urgency=medium\n\n' "$version"
    printf '  * Built of %s.\n\n' "$VERSION"
    printf ' -- %s  %s\n' "$maintainer" "$(date -R -d "@$epoch")"
  } | gzip -9n >"$doc/changelog.gz"
}

control() {
  local script
  mkdir "$root/DEBIAN"
  for script in postinst prerm postrm; do
    sed "s/@UNITS@/${units[*]}/" "scripts/deb/$script" >"$work/script"
    put 0755 "$work/script" "DEBIAN/$script"
  done
  echo /etc/ircferry/ircferry.yaml >"$root/DEBIAN/conffiles"
  (cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
  sed -e "s|@VERSION@|$version|; s|@ARCH@|$arch|; s|@MAINTAINER@|$maintainer|" \
    -e "s|@SIZE@|$(du -k -s --apparent-size "$root/usr" "$root/etc" | awk '{ all += $1 } END { print all }')|" scripts/deb/control >"$root/DEBIAN/control"
}

programs
configuration
documents
libraries
control
find "$root" -exec touch -h -d "@$epoch" {} +
deb=$dist/ircferry_${version}_$arch.deb
dpkg-deb --root-owner-group --threads-max=1 "-Z${DEB_COMPRESS:-xz}" --build "$root" "$work/new.deb" >/dev/null
mv "$work/new.deb" "$deb"
echo "$deb"
