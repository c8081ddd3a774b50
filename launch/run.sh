#!/usr/bin/env bash
# Sets everything up on the first start, then trains: ./launch/run.sh [FLAGS OF jaxpeft.main]
# Runs from the top of the repository; relative paths in flags start there. launch/environment.sh has the settings.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh

find_environment
install_once requirements.txt

# The default config, unless the user names one or asks for a mode that reads the config kept in the workdir.
has_config=' --(config|mode[= ](evaluate|predict|export|merge))([= ]|$)'
[[ " $*" =~ $has_config ]] || set -- --config=configs/lora_bert.py "$@"
# Large pages for what a step allocates: a tenth less time on a CPU. Read by glibc at start, so it cannot be set later.
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"
exec "$python" -m jaxpeft.main "$@"
