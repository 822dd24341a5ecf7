#!/bin/sh
# Brings a built image to Google Compute Engine and starts it as a confidential VM: checks it, shows the commands, asks, runs them.
# usage: scripts/deploy-gcp.sh IMAGE --project PROJECT --zone ZONE --bucket NAME [options of `cloister deploy gcp`]
# Needs `cloister` and `gcloud` (logged in). Costs money. See docs/clouds.md.
set -eu
cloister=${CLOISTER:-cloister}
[ $# -ge 1 ] || { sed -n 2,4p "$0" >&2; exit 2; }
image=$1
shift
for program in "$cloister" gcloud; do
    command -v "$program" >/dev/null || { echo "error: \`$program\` is missing" >&2; exit 2; }
done

"$cloister" check "$image" --cloud gcp
commands=$("$cloister" deploy gcp --dry-run "$image" "$@")
printf '%s\n' "$commands"
if [ "${YES:-}" != 1 ]; then
    printf 'run this? [y/N] ' >&2
    read -r answer
    [ "$answer" = y ] || exit 1
fi
printf '%s\n' "$commands" | sh
