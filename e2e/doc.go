// Package e2e runs the built programs with what they meet in the world: IRC clients and ircds from the distribution, signals,
// a service manager's socket. It has tests only, behind the build tag e2e; `make e2e` switches them on.
//
// Every test starts what it needs itself, on free ports and in directories of its own, and ends it by its process id. A test whose
// program is not installed skips and names the package; scripts/deps.sh installs them all. What Debian 12 has in older versions only, as
// InspIRCd 4, is run out of a root of Debian 13 (scripts/trixie.sh). Ergo with the files of handoff/ircds/ergo is in
// no package: its tests run where IRCFERRY_ERGO is such a binary.
package e2e
