#!/usr/bin/env bash
# Sets everything up on the first start, then runs lint, types and tests: ./launch/test.sh [FLAGS OF pytest]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh

find_environment
install_once requirements-dev.txt

"$python" -m ruff check
"$python" -m ruff format --check
"$python" -m mypy jaxpeft
"$python" -m pytest -q -n 2 --dist=loadfile "$@"  # a file stays in one process: its models are made once
