#!/bin/sh
# Brings a built image to Azure and starts it as a confidential VM: checks it, shows the commands, asks, runs them.
# usage: scripts/deploy-azure.sh IMAGE --resource-group NAME --location REGION [options of `cloister deploy azure`]
# Needs `cloister`, `az` (logged in) and `azcopy`. Costs money. See docs/clouds.md.
set -eu
cloister=${CLOISTER:-cloister}
[ $# -ge 1 ] || { sed -n 2,4p "$0" >&2; exit 2; }
image=$1
shift
for program in "$cloister" az azcopy; do
    command -v "$program" >/dev/null || { echo "error: \`$program\` is missing" >&2; exit 2; }
done

"$cloister" check "$image" --cloud azure
commands=$("$cloister" deploy azure --dry-run "$image" "$@")
printf '%s\n' "$commands"
if [ "${YES:-}" != 1 ]; then
    printf 'run this? [y/N] ' >&2
    read -r answer
    [ "$answer" = y ] || exit 1
fi
printf '%s\n' "$commands" | sh
