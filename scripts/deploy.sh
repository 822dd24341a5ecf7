#!/bin/sh
# Brings a built image to a cloud and starts it as a confidential VM: checks it, shows the commands, asks, runs them.
# usage: scripts/deploy.sh azure IMAGE --resource-group NAME --location REGION [options of `cloister deploy azure`]
#        scripts/deploy.sh gcp IMAGE --project PROJECT --zone ZONE --bucket NAME [options of `cloister deploy gcp`]
# Needs `cloister`, and `az` (logged in) with `azcopy` or `gcloud` (logged in). Costs money. See docs/clouds.md.
set -eu
cloister=${CLOISTER:-cloister}
case ${1:-} in
azure) programs='az azcopy' ;;
gcp) programs=gcloud ;;
*) sed -n 2,5p "$0" >&2; exit 2 ;;
esac
[ $# -ge 2 ] || { sed -n 2,5p "$0" >&2; exit 2; }
cloud=$1 image=$2
shift 2
for program in "$cloister" $programs; do
    command -v "$program" >/dev/null || { echo "error: \`$program\` is missing" >&2; exit 2; }
done

"$cloister" check "$image" --cloud "$cloud"
commands=$("$cloister" deploy "$cloud" --dry-run "$image" "$@")
printf '%s\n' "$commands"
if [ "${YES:-}" != 1 ]; then
    printf 'run this? [y/N] ' >&2
    read -r answer
    [ "$answer" = y ] || exit 1
fi
printf '%s\n' "$commands" | sh
