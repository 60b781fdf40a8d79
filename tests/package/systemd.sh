#!/bin/bash
# systemd.sh - the Debian packages under a running systemd: installed, upgraded, restarted, hung,
# killed, misconfigured, removed.
#
#     tests/package/systemd.sh FOLDER      as root; FOLDER has the packages: that of chroot.sh
#
# systemd is process 1 of namespaces of its own, with a tree made by debootstrap, its own network
# and a cgroup2 hierarchy without controllers: so what a unit does is seen, but not CPUQuota= and
# the like. What runs inside is below, after INSIDE. Takes some minutes. Ends with `N passed, N
# failed`.
set -eu

suite=bookworm mirror=${MIRROR:-http://deb.debian.org/debian}
skip() { echo "skip: $*"; echo 0 passed, 0 failed, 1 skipped; exit 0; }
[ "$(id -u)" = 0 ] || skip 'namespaces need root'
command -v debootstrap >/dev/null || skip 'debootstrap is not installed'
if ! ls "${1:-}"/lammd_*.deb >/dev/null; then
    echo 'usage: tests/package/systemd.sh FOLDER, made by chroot.sh' >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
work=$(cd "$1" && pwd)
tree=$work/systemd

if [ ! -d "$tree/var/lib/dpkg" ]; then
    libs=libmicrohttpd12,libjansson4,libpng16-16,libjpeg62-turbo,libwebp7,libssl3,libsqlite3-0
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,curl,iproute2,$libs \
        "$suite" "$tree" "$mirror" >"$work/systemd-tree.log" 2>&1 || { tail -n 5 "$work/systemd-tree.log"; exit 1; }
fi
cp "$work"/lammd_*.deb "$work"/lammd-data_*.deb "$here/../browser/photo.jpg" "$tree/root/"
sed '1,/^# INSIDE$/d' "$0" >"$tree/root/probe"
: >"$tree/root/said"
cat >"$tree/etc/systemd/system/probe.service" <<'UNIT'
[Unit]
After=network.target dbus.service
[Service]
Type=oneshot
ExecStart=/bin/bash /root/probe
StandardOutput=append:/root/said
StandardError=append:/root/said
ExecStopPost=/bin/systemctl poweroff --no-block
UNIT
mkdir -p "$tree/etc/systemd/system/multi-user.target.wants"
ln -sf ../probe.service "$tree/etc/systemd/system/multi-user.target.wants/probe.service"

# Not chroot: who is in one may make no namespaces for users, and the unit wants one.
cat >"$work/systemd-boot" <<'BOOT'
set -eu
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for d in null zero full random urandom tty; do touch "dev/$d"; mount --bind "/dev/$d" "dev/$d"; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
ip link set lo up
mkdir -p .old
pivot_root . .old
cd /
exec env -i container=lammd-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /bin/sh -c 'umount -l /.old; exec /lib/systemd/systemd --log-target=console --unit=multi-user.target'
BOOT
timeout -k 5 900 unshare --pid --mount --net --uts --ipc --cgroup --fork --kill-child \
    bash "$work/systemd-boot" "$tree" >"$work/systemd.log" 2>&1 </dev/null || true
cat "$tree/root/said"
tail -n 1 "$tree/root/said" | grep -q '^[0-9]* passed, 0 failed$'
exit

# INSIDE
url=http://127.0.0.1:8080 passed=0 failed=0
check() { # WHAT COMMAND...
    local what=$1
    shift
    if "$@" >/tmp/why 2>&1; then echo "ok: $what"; passed=$((passed + 1)); else
        echo "FAIL $what: $*"; tail -n 5 /tmp/why; failed=$((failed + 1)); fi
}
code() { curl -sS -m 60 -o /dev/null -w '%{http_code}' "$@" 2>/dev/null; }
is() { [ "$1" = "$2" ] || { echo "it is $1, not $2"; return 1; }; }
show() { systemctl show "$1" -p "$2" --value; }
ready() { for _ in $(seq 600); do [ "$(code $url/readyz)" = 200 ] && return; sleep 0.2; done; return 1; }
both() { is "$(systemctl is-active lammd.socket lammd.service | tr '\n' ' ')" 'active active '; }
install() { dpkg -i /root/lammd_*.deb /root/lammd-data_*.deb; }
# Ask on and on until /tmp/over is there; what curl said that isn't an answer.
ask() { rm -f /tmp/over /tmp/codes; while [ ! -e /tmp/over ]; do
    code -F image=@/root/photo.jpg -F 'points=[[0,0]]' $url/v1/pixels >>/tmp/codes; echo >>/tmp/codes; sleep 0.05; done & }
answered() { touch /tmp/over; wait; sort /tmp/codes | uniq -c; ! grep -vE '^(200|503)$' /tmp/codes && grep -q 200 /tmp/codes; }

check 'install' install
check 'socket and service run' both
check 'it is ready' ready
check 'a question' is "$(code -F image=@/root/photo.jpg -F 'points=[[0,0]]' $url/v1/pixels)" 200
pid=$(show lammd.service MainPID)
check 'no capabilities' grep -q '^CapEff:.0000000000000000$' "/proc/$pid/status"
check 'a filter of system calls' grep -q '^Seccomp:.2$' "/proc/$pid/status"
check 'a user of its own' test "$(show lammd.service UID)" -ge 61184
check 'status' is "$(show lammd.service StatusText)" 'serving lamm-mini'
check 'lines in the journal, with their levels' sh -c 'journalctl -u lammd -o json | grep event=model | grep -q "\"PRIORITY\":\"6\""'
check 'the admin socket' is "$(code --unix-socket /run/lammd/admin.sock http://localhost/v1/adapters)" 200
ip addr add 10.9.9.1/24 dev lo
check 'reload' systemctl reload lammd.service
sleep 1
check 'reload leaves it running' is "$(show lammd.service MainPID)" "$pid"

since=$(show lammd.socket ActiveEnterTimestampMonotonic)
ask
sleep 1
check 'restart' systemctl restart lammd.service
check 'it is ready again' ready
check 'an upgrade' install
check 'it is ready after that' ready
sleep 1
check 'nobody was refused or cut' answered
check 'socket and service run after an upgrade' both
check 'the socket was open all the time' is "$(show lammd.socket ActiveEnterTimestampMonotonic)" "$since"
check 'the process is another one' test "$(show lammd.service MainPID)" != "$pid"

sleep 35
check 'signs of life are taken' is "$(show lammd.service NRestarts)" 0
kill -STOP "$(show lammd.service MainPID)"
for _ in $(seq 60); do [ "$(show lammd.service NRestarts)" = 0 ] || break; sleep 1; done
check 'hung, it is started again' is "$(show lammd.service NRestarts)" 1
check 'it is ready after that' ready
systemctl kill -s KILL lammd.service
sleep 2
check 'killed, it is started again' ready

mkdir -p /srv/adapters /etc/systemd/system/lammd.service.d
chown "$(show lammd.service UID)" /srv/adapters
echo 'shared-adapters = /srv/adapters' >>/etc/lammd/lammd.conf
check 'a folder that the sandbox holds back' sh -c '! systemctl restart lammd.service && journalctl -u lammd -n 20 -o cat | grep -q "Read-only file system"'
printf '[Service]\nReadWritePaths=/srv/adapters\n' >/etc/systemd/system/lammd.service.d/adapters.conf
systemctl daemon-reload
systemctl reset-failed lammd.service lammd.socket
systemctl start lammd.socket lammd.service
check 'and lets through' ready
check 'it is its folder' test -f /srv/adapters/history/model.json

systemctl stop lammd.service 2>/dev/null
check 'stop' is "$(show lammd.service Result) $(show lammd.service ExecMainStatus)" 'success 0'
check 'the socket starts it' ready
systemctl stop lammd.socket lammd.service
echo 'threds = 2' >>/etc/lammd/lammd.conf
check 'a wrong line keeps it from starting' sh -c '! systemctl start lammd.service && journalctl -u lammd -n 20 -o cat | grep -q "did you mean \"threads\""'
sed -i /threds/d /etc/lammd/lammd.conf
systemctl stop lammd.service lammd.socket
systemctl reset-failed
check 'remove' dpkg -r lammd lammd-data
check 'its state stays' test -d /var/lib/lammd
check 'purge' dpkg -P lammd lammd-data
check 'nothing is left' sh -c 'left=$(find / -xdev -name "*lammd*" -not -path "/root/*" -not -path "/tmp/*" -not -path "/.old/*" -not -path "/etc/systemd/system/lammd.service.d*" -not -path "/var/lib/systemd/deb-systemd-helper*"); echo "$left"; [ -z "$left" ]'
echo "$passed passed, $failed failed"
