#!/usr/bin/env bash
# Runs systemd as process 1 of a machine of its own on this one: namespaces, a root directory that is an overlay over ours (nothing written
# there is ever seen here), /dev and /run of its own, our network. Ends with its parent. Exits with 77 where that is not possible.
#
#   systemd-machine.sh DIR       DIR/root is put over the root directory; DIR itself is a file system on which overlays can be written
set -euo pipefail

dir=$1
if [ -z "${2:-}" ]; then
  cgroups=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)
  [ -n "$cgroups" ] || { echo "no cgroup2 here"; exit 77; }
  mkdir "$cgroups/ircferry-test-$$" && echo $$ >"$cgroups/ircferry-test-$$/cgroup.procs" || { echo "no cgroup can be made here"; exit 77; }
  echo "cgroup $cgroups/ircferry-test-$$"
  exec setpriv --pdeathsig KILL unshare --mount --pid --uts --ipc --cgroup --fork --kill-child bash "$0" "$dir" inside
fi

give_up() { echo "$1"; exit 77; }
mount --make-rprivate / || give_up "no mount namespace"
mount -t tmpfs none "$dir/machine" || give_up "no tmpfs"
mkdir "$dir/machine/upper" "$dir/machine/work" "$dir/machine/root"
root=$dir/machine/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/machine/upper,workdir=$dir/machine/work" "$root" || give_up "no overlay"
mount -t proc proc "$root/proc" && mount --bind "$root/proc/sys" "$root/proc/sys" && mount -o remount,ro,bind "$root/proc/sys" || give_up "no /proc"
mount -t tmpfs none "$root/sys" && mkdir -p "$root/sys/fs/cgroup" && mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup" || give_up "no cgroup2"
for d in run tmp dev var/lib var/log; do mount -t tmpfs -o mode=0755 none "$root/$d"; done
chmod 1777 "$root/tmp"
while read -r name major minor; do mknod -m 0666 "$root/dev/$name" c "$major" "$minor" || give_up "no devices"; done <<'EOF'
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
EOF
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 none "$root/dev/pts" && ln -s pts/ptmx "$root/dev/ptmx" || give_up "no devpts"

cp -r "$dir/root/." "$root/"
mkdir -p "$root/etc/systemd/system"
printf '[Unit]\nDescription=what the test starts by itself\n' >"$root/etc/systemd/system/test.target"
for unit in systemd-udevd.service systemd-udev-trigger.service systemd-modules-load.service systemd-sysctl.service systemd-remount-fs.service \
  systemd-binfmt.service systemd-random-seed.service systemd-update-utmp.service dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount \
  sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount proc-sys-fs-binfmt_misc.automount; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
rm -f "$root/etc/machine-id" && echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" /lib/systemd/systemd --system --unit=test.target --log-target=journal --show-status=no
