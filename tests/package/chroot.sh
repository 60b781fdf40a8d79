#!/bin/sh
# chroot.sh - the Debian packages, from the commit HEAD to the last trace of them in a bare chroot.
#
#     tests/package/chroot.sh [FOLDER]      as root; needs a mirror of Debian. FOLDER is kept, and
#                                           its packages and chroot are used again
#
# make dist, dpkg-buildpackage, lintian, debootstrap; then in the chroot: install, ask the server
# that the unit's ExecStart starts, as another user; SIGTERM; remove; purge. No systemd runs there,
# so what the unit adds (sandbox, folders, sockets) isn't tried: systemd.sh does that. NVCC= keeps
# it from building the CUDA engine.
# Ends with `N passed, N failed`.
set -eu

cd "$(dirname "$0")/../.."
root=$PWD
suite=bookworm mirror=${MIRROR:-http://deb.debian.org/debian}
needs='debootstrap dpkg-buildpackage lintian dh curl'
for program in $needs; do
    command -v "$program" >/dev/null || { echo "skip: $program is not installed"; echo 0 passed, 0 failed, 1 skipped; exit 0; }
done
[ "$(id -u)" = 0 ] || { echo 'skip: a chroot needs root'; echo 0 passed, 0 failed, 1 skipped; exit 0; }

if [ $# -gt 0 ]; then
    mkdir -p "$1"
    work=$(cd "$1" && pwd)
else
    work=$(mktemp -d)
fi
server='' mounted=''
end() {
    [ ! "$server" ] || kill -9 "$server" 2>/dev/null || true
    [ ! "$mounted" ] || umount "$work/chroot/proc" || true
}
trap end EXIT
passed=0
good() { echo "ok: $*"; passed=$((passed + 1)); }
bad() { echo "FAIL $*"; echo "$passed passed, 1 failed"; exit 1; }
there() { chroot "$work/chroot" "$@"; }

# ---- the packages ----

if ! ls "$work"/lammd_*.deb >/dev/null 2>&1; then
    tarball=$(make -s O="$work/dist" dist)
    tar -C "$work" -xzf "$tarball"
    (cd "$work"/lammd-*/ && dpkg-buildpackage -us -uc -b) >"$work/build.log" 2>&1 ||
        { tail -n 30 "$work/build.log"; bad dpkg-buildpackage; }
fi
good dpkg-buildpackage
lintian --fail-on error --tag-display-limit 0 "$work"/lammd_*.changes || bad lintian
good lintian

# ---- a bare chroot ----

if [ ! -d "$work/chroot/var/lib/dpkg" ]; then
    debootstrap --variant=minbase "$suite" "$work/chroot" "$mirror" >"$work/debootstrap.log" 2>&1 ||
        { tail -n 5 "$work/debootstrap.log"; bad debootstrap; }
    there apt-get clean
    # What packages would start, a chroot must not.
    printf '#!/bin/sh\nexit 101\n' >"$work/chroot/usr/sbin/policy-rc.d"
    chmod 755 "$work/chroot/usr/sbin/policy-rc.d"
fi
mount -t proc proc "$work/chroot/proc"
mounted=1
traces() { find "$work/chroot" -xdev -name '*lammd*' -not -path '*/proc/*' | sed "s|^$work/chroot||" | sort; }
[ ! "$(traces)" ] || bad "traces before: $(traces)"

install() {
    cp "$work"/lammd*.deb "$work/chroot/root/"
    there sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
        --no-install-recommends /root/lammd_*.deb /root/lammd-data_*.deb' >"$work/install.log" 2>&1 ||
        { tail -n 20 "$work/install.log"; bad install; }
    rm "$work"/chroot/root/lammd*.deb
}
install
good install
[ "$(dpkg-deb -c "$work"/lammd-mpi_*.deb | grep -c '[.]so$')" = 1 ] || bad 'lammd-mpi is not one plugin'
! dpkg-deb -c "$work"/lammd_*.deb | grep -q lammd-mpi.so || bad 'lammd has the plugin for MPI, too'
there test ! -e /usr/lib/lammd/lammd-mpi.so || bad 'the plugin for MPI came without its package'
good 'lammd-mpi is by itself'
there test -L /etc/systemd/system/multi-user.target.wants/lammd.service || bad 'the unit is not enabled'
there lammd serve --config /etc/lammd/lammd.conf --check-config || bad 'lammd.conf'
there sh -c 'zcat /usr/share/man/man8/lammd.8.gz | grep -q "^.TH LAMMD 8"' || bad 'lammd(8)'
good 'what was installed'

# ---- ExecStart, by hand: folders as the unit makes them, and a user without a name ----

user=64123
for folder in /run/lammd /var/lib/lammd /var/log/lammd; do there install -d -m 700 -o $user -g $user $folder; done
exec_start=$(sed -n 's/^ExecStart=//p' "$work/chroot/lib/systemd/system/lammd.service")
# shellcheck disable=SC2086 # words are wanted
chroot --userspec=$user:$user "$work/chroot" $exec_start --listen 127.0.0.1:0 >"$work/said" 2>"$work/log" &
server=$!
url='' waited=0
while [ ! "$url" ]; do
    kill -0 "$server" 2>/dev/null || { cat "$work/log"; bad "it ended"; }
    url=$(sed -n 's/^listening on \(http.*\)/\1/p' "$work/said" | head -n 1)
    [ "$url" ] || sleep 0.1
    waited=$((waited + 1))
    [ "$waited" -lt 3000 ] || bad 'it never listened'
done
curl -fsS "$url/readyz" >/dev/null || bad readyz
curl -fsS -F image=@"$root/tests/browser/photo.jpg" -F 'points=[[0,0]]' "$url/v1/pixels" | grep -q '"rgb"' ||
    bad 'its answer'
kill -TERM "$server"
wait "$server" && server='' || { cat "$work/log"; bad "its exit status"; }
there test -f /var/log/lammd/audit.json || bad 'no audit file'
there test -d /var/lib/lammd/adapters || bad 'no state'
good 'it answered, and ended at SIGTERM'

# ---- and away ----

there apt-get remove -y -qq lammd lammd-data >/dev/null 2>&1 || bad remove
there test -f /etc/lammd/lammd.conf || bad 'remove took lammd.conf away'
there test -d /var/lib/lammd || bad 'remove took the state away'
if there test -e /usr/bin/lammd; then bad 'remove left the program'; fi
good remove
rm -rf "$work/chroot/run/lammd" # systemd takes it away when the unit stops
there apt-get purge -y -qq lammd lammd-data >/dev/null 2>&1 || bad purge
left=$(traces | grep -v '^/var/lib/systemd/deb-systemd-helper' || true)
[ ! "$left" ] || bad "purge left $left"
good purge

[ $# -gt 0 ] || { umount "$work/chroot/proc" && mounted='' && rm -rf "$work"; }
echo "$passed passed, 0 failed"
