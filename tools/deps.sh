#!/bin/sh
# deps.sh PACKAGE... - install those Debian packages that are missing, as root or with sudo.
set -eu

missing=
for p; do
    case $(dpkg-query -W -f='${Status}' "$p" 2>/dev/null || true) in
        *'ok installed') ;;
        *) missing="$missing $p" ;;
    esac
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "not a Debian system; please install what these hold:$missing" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "as root: apt-get install$missing" >&2; exit 1; }
    as_root=sudo
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # words are wanted
$as_root apt-get install -y -qq --no-install-recommends $missing ||
    { $as_root apt-get update -qq &&
      $as_root apt-get install -y -qq --no-install-recommends $missing; }
