#!/bin/sh
# Unpacks the Debian packages that the shared measurement vectors are about, each into DIR/PACKAGE, for the tests of crates/measure.
# usage: scripts/debian-files.sh [DIR]     default: target/debian-files; tests read the directory that CLOISTER_DEBIAN_FILES names
# Takes the archive from this machine's apt, but reads and keeps lists of its own: needs no rights, leaves the system's lists alone.
# What is there already is kept. A package that cannot be had is said and left out; the tests then skip its values in words.
set -eu
cd "$(dirname "$0")/.."
keys=$PWD/recipes/keys
mkdir -p "${1:-target/debian-files}"
cd "${1:-target/debian-files}"
retry() { for pause in 5 15 30; do "$@" && return; sleep "$pause"; done; "$@"; }
say() { echo "scripts/debian-files.sh: $*" >&2; }

missing=
for package in systemd-boot-efi/trixie linux-image-6.12.107+deb13-cloud-amd64/trixie ovmf/trixie \
    ovmf-amdsev/sid ovmf-generic/sid ovmf-inteltdx/sid; do
    [ -d "${package%/*}" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 2>/dev/null | head -n 1) || archive=
if [ -z "$archive" ]; then
    say "no archive is configured in apt: going on without$missing"
    exit 0
fi

rm -rf apt
mkdir -p apt/state/lists/partial apt/cache/archives/partial
: >apt/status
cat >apt/apt.conf <<END
Dir { State "$PWD/apt/state"; State::status "$PWD/apt/status"; Cache "$PWD/apt/cache"; };
Dir::Etc { SourceList "$PWD/apt/sources.list"; SourceParts "/dev/null"; };
APT::Sandbox::User "root";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
END
signed="signed-by=$keys/debian-archive-trixie-automatic.asc,$keys/debian-archive-trixie-stable.asc"
for suite in trixie sid; do echo "deb [arch=amd64 target=Packages $signed] $archive $suite main"; done >apt/sources.list
retry apt-get -qq -c apt/apt.conf update || say "not every suite could be read"
for package in $missing; do
    # The suite is asked first, so that only the download is repeated.
    if (cd apt/cache && rm -rf ./*.deb unpacked && apt-get -qq -c ../apt.conf download --print-uris "$package" >/dev/null 2>&1 &&
        retry apt-get -qq -c ../apt.conf download "$package" && dpkg-deb -x ./*.deb unpacked); then
        mv apt/cache/unpacked "${package%/*}"
    else
        say "$package cannot be had: going on without"
    fi
done
rm -rf apt
