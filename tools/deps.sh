#!/bin/sh
# deps.sh NEEDED... [-- WANTED...] - install those Debian packages that are missing, as root or with
# sudo.
#
# What is there though Debian's packages know nothing of it is not missing. Where something can't be
# installed, that is said; it is a failure only if it is NEEDED. CC and PYTHON name the compiler and
# the interpreter that are going to be used.
# shellcheck disable=SC2086 # words are wanted
set -eu

header() { echo "#include <$1>" | ${CC:-gcc} -E -; }
module() { ${PYTHON:-python3} -c "import $1"; }
probe() { # PACKAGE: is what it is wanted for there?
    case $1 in
        gcc) command -v ${CC:-gcc} ;;
        libc6-dev) header stdio.h ;;
        libmicrohttpd-dev) header microhttpd.h ;;
        libjansson-dev) header jansson.h ;;
        libpng-dev) header png.h ;;
        libjpeg62-turbo-dev) header jpeglib.h ;;
        libwebp-dev) header webp/decode.h ;;
        libssl-dev) header openssl/evp.h ;;
        libsqlite3-dev) header sqlite3.h ;;
        libopenmpi-dev) command -v mpicc ;;
        openmpi-bin) command -v mpirun ;;
        nginx-light) command -v nginx || [ -x /usr/sbin/nginx ] ;;
        haproxy) command -v haproxy || [ -x /usr/sbin/haproxy ] ;;
        python3-pil) module PIL ;;
        python3-*) module "${1#python3-}" ;;
        chromium) command -v chromium || command -v google-chrome ;;
        *) command -v "$1" ;; # the package and the program have one name
    esac >/dev/null 2>&1
}

look() { # needed and wanted: those of the arguments that are missing
    installed=$(dpkg-query -W -f='/${Package} ${db:Status-Status}/' "$@" 2>/dev/null || true)
    needed='' wanted='' is_wanted=
    for p; do
        if [ "$p" = -- ]; then is_wanted=1; continue; fi
        case $installed in *"/$p installed/"*) continue ;; esac
        if probe "$p"; then continue; fi
        if [ "$is_wanted" ]; then wanted="$wanted $p"; else needed="$needed $p"; fi
    done
}

look "$@"
[ "$needed$wanted" ] || exit 0

as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
apt() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" >/dev/null; }
install() { apt install -y --no-install-recommends "$@"; }
if command -v apt-get >/dev/null && command -v ${as_root:-true} >/dev/null; then
    echo "installing:$needed$wanted"
    if install $needed $wanted 2>/dev/null || { apt update && install $needed $wanted; }; then exit 0; fi
    for p in $needed $wanted; do install "$p" || true; done # as many as there are
    look "$@"
fi

how='as root: apt-get install --no-install-recommends'
command -v apt-get >/dev/null || how='no Debian here, but it has what these hold:'
[ ! "$wanted" ] || echo "missing, so that tests will be skipped ($how$wanted)" >&2
[ ! "$needed" ] || { echo "missing ($how$needed)" >&2; exit 1; }
