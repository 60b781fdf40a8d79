#!/bin/sh
# units.sh - the systemd units are valid, and the sandbox is as tight as promised: 1.5 of 10, with
# the drop-in for a GPU as without it (a bare unit stands at 9.6). Needs no running systemd. Silent
# when all is well.
set -u
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
printf '#!/bin/sh\n' >"$tmp/lammd"
chmod 755 "$tmp/lammd"
for u in lammd.service lammd.socket lammd-gpu.conf; do
    sed "s|@bindir@|$tmp|; s|@datadir@|/usr/share|; s|@docdir@|/usr/share/doc/lammd|; s|@sysconfdir@|/etc|" \
        "systemd/$u" >"$tmp/$u"
    grep -Hn '@[a-z]*dir@' "$tmp/$u"
done
check() {
    systemd-analyze verify --man=no "$tmp/lammd.service" "$tmp/lammd.socket" 2>&1 |
        grep -E "^($tmp/)?(lammd[.]|gpu[.])"
    systemd-analyze security --offline=true --threshold=15 --no-pager "$tmp/lammd.service" \
        >"$tmp/report" 2>&1 || tail -n 3 "$tmp/report"
}
check
grep -q '^CacheDirectory=lammd$' "$tmp/lammd-gpu.conf" && grep -q '^Environment=CUDA_CACHE_PATH=%C/lammd$' "$tmp/lammd-gpu.conf" ||
    echo 'lammd-gpu.conf: the code that a driver makes is kept nowhere'
mkdir "$tmp/lammd.service.d"
mv "$tmp/lammd-gpu.conf" "$tmp/lammd.service.d/gpu.conf"
check
