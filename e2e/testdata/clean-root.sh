#!/usr/bin/env bash
# Holds a Debian that nothing has been installed into yet, besides what its root has: an overlay over that root, in namespaces of its own. What
# is written there is gone with the process, which ends with its parent. Exits with 77 where that is not possible.
#
#   clean-root.sh DIR ROOT       DIR/root is put over ROOT; DIR itself is a file system on which overlays can be written
set -euo pipefail

dir=$1 lower=$2
if [ -z "${3:-}" ]; then
  exec setpriv --pdeathsig KILL unshare --mount --pid --uts --ipc --fork --kill-child bash "$0" "$dir" "$lower" inside
fi

give_up() { echo "$1"; exit 77; }
mount --make-rprivate / || give_up "no mount namespace"
mount -t tmpfs none "$dir/machine" || give_up "no tmpfs"
mkdir "$dir/machine/upper" "$dir/machine/work" "$dir/machine/root"
root=$dir/machine/root
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$dir/machine/upper,workdir=$dir/machine/work" "$root" || give_up "no overlay"
mount -t proc proc "$root/proc" || give_up "no /proc"
for d in run tmp; do mount -t tmpfs -o mode=0755 none "$root/$d"; done
chmod 1777 "$root/tmp"
rm -f "$root/dev/null" && mknod -m 0666 "$root/dev/null" c 1 3 || give_up "no devices"
cp -r "$dir/root/." "$root/"
echo ready
exec chroot "$root" sleep infinity
