#!/usr/bin/env bash
# Starts a real systemd as process 1 of namespaces of its own, with basisd installed under /opt/basisd as docs/operations.md
# says. Called by machine.py below `unshare`. What it sees of the host it cannot write: first every mount is made
# read-only, then memory is laid over what has to be written. Nothing that is mounted or started here outlives it.
#   boot.sh CGROUP SITE_PACKAGES SOURCES     CGROUP: a name that nobody uses; PYTHON, in the environment: the interpreter
set -euo pipefail
cgroup=$1 site=$2 sources=$3
own=/run/machine

if [ "${BOOT_STAGE:-1}" = 1 ]; then
    [ $$ = 1 ] || { echo "boot.sh is for process 1 of namespaces of its own" >&2; exit 1; }
    mount --make-rprivate /
    mapfile -t points < <(findmnt --raw --noheadings --output TARGET)
    for point in "${points[@]}"; do
        mount -o remount,bind,ro "$(printf '%b' "$point")"
    done
    if (: >/tmp/.machine) 2>/dev/null; then echo "the host's /tmp is still writable" >&2; exit 1; fi
    mount -t tmpfs -o mode=755 run /run
    mkdir -p "$own"/{cgroup,upper,work,sources,dev}
    # A group of its own, so that systemd does not take the host's root group for its own.
    mount -t cgroup2 none "$own/cgroup"
    group=$own/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/$cgroup
    mkdir "$group"
    echo $$ >"$group/cgroup.procs"
    umount "$own/cgroup"
    BOOT_STAGE=2 exec unshare --cgroup -- "$0" "$@"
fi

lay() { # lay NAME LOWER WHERE: what is written below WHERE goes to memory
    mkdir -p "$own/upper/$1" "$own/work/$1"
    mount -t overlay -o "lowerdir=$2,upperdir=$own/upper/$1,workdir=$own/work/$1" "$1" "$3"
}

lay etc /etc /etc
lay var /var /var
lay opt /opt /opt
cp -r "$sources/." "$own/sources"
# Units see no home folders: what lies in one is bound where they look.
mkdir "$own/site"
mount --bind -o ro "$site" "$own/site"
prefix=$(readlink -f "$(dirname "$PYTHON")/..")
case $prefix/ in
    /root/* | /home/* | /tmp/*)
        mkdir /opt/python
        mount --bind -o ro "$prefix" /opt/python
        PYTHON=/opt/python/bin/$(basename "$PYTHON")
        # Where it says that its library is, nobody but root finds it.
        export LD_LIBRARY_PATH=/opt/python/lib
        ;;
esac

mount -t proc proc /proc
for path in /proc/sys /proc/sysrq-trigger; do
    [ -e "$path" ] || continue
    mount --bind "$path" "$path"
    mount -o remount,bind,ro "$path"
done
mount -t sysfs -o ro sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755,nosuid dev "$own/dev"
for node in null zero full random urandom tty; do
    touch "$own/dev/$node"
    mount --bind "/dev/$node" "$own/dev/$node"
done
mkdir "$own"/dev/{shm,pts}
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts "$own/dev/pts"
ln -s pts/ptmx "$own/dev/ptmx"
ln -s /proc/self/fd "$own/dev/fd"
mount -t tmpfs -o mode=1777 shm "$own/dev/shm"
mount --move "$own/dev" /dev
mount -t tmpfs -o mode=1777 tmp /tmp

"$PYTHON" -m venv --without-pip /opt/basisd
lay site "$own/site" "$(echo /opt/basisd/lib/python3*/site-packages)"
env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null HOME=/tmp /opt/basisd/bin/python -m pip install \
    --quiet --disable-pip-version-check --root-user-action=ignore --no-cache-dir --no-index --no-deps \
    --no-build-isolation "$own/sources"

# Of the host's units only what ours stand on; nothing that tidies up.
mount -t tmpfs -o mode=755 units /etc/systemd/system
for folder in /lib/systemd/system/*.target.wants; do
    mount -t tmpfs -o mode=755 wants "$folder"
done
for unit in systemd-journald.service systemd-journald.socket; do
    ln -s "/lib/systemd/system/$unit" /lib/systemd/system/sysinit.target.wants/
done
# With an id it is no first boot, which would enable what the host has installed.
rm -f /etc/machine-id
tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
# Generators run all the same: no file systems, no auditing of the kernel that all share.
: >/etc/fstab
ln -s /dev/null /etc/systemd/system/systemd-remount-fs.service
ln -s /dev/null /etc/systemd/system/systemd-journald-audit.socket
mkdir /etc/systemd/system/service.d
printf '[Service]\nEnvironment=LD_LIBRARY_PATH=%s\n' "${LD_LIBRARY_PATH:-}" >/etc/systemd/system/service.d/python.conf
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n' >/etc/systemd/system/machine.target

mount --make-rshared /
# What only a real machine's systemd may do: load modules, set the clock, reach the hardware.
exec setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-sys_boot,-syslog,-wake_alarm -- \
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=basisd \
    /lib/systemd/systemd --system --unit=machine.target --log-target=journal --show-status=no
