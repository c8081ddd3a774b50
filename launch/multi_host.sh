#!/usr/bin/env bash
# One run on N processes of this machine that work as those of N machines do: ./launch/multi_host.sh N [FLAGS OF main]
# Each takes the GPU of its number if there are enough, else a share of the CPU. When one dies, all end, with one
# message; the same command then goes on from the last checkpoint. BUILD.md says how to use several machines.
# Runs from the top of the repository; relative paths in flags start there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh

if (( BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 501 )); then
  echo "error: launch/multi_host.sh needs bash 5.1 or newer to watch its processes, and this is $BASH_VERSION" >&2
  exit 2
fi
if ! [[ "${1:-}" =~ ^[1-9][0-9]*$ ]]; then
  echo "error: expected the number of processes first: ./launch/multi_host.sh 2 --config=configs/lora_bert.py" >&2
  exit 2
fi
count="$1"
shift
find_environment
install_once requirements.txt

port="$("$python" -c 'import socket; s = socket.socket(); s.bind(("localhost", 0)); print(s.getsockname()[1])')"
export JAX_COORDINATOR_BIND_ADDRESS="localhost:$port"  # by default anyone on the network could reach it
export no_proxy="${no_proxy:+$no_proxy,}localhost"  # the processes would else look for one another behind a proxy
logs="$(mktemp -d)"
declare -A number_of=()  # process id -> its number in the run

# JAX catches milder signals and goes on; a run that is killed loses nothing.
end_all() {
  (( ${#number_of[@]} == 0 )) || kill -KILL "${!number_of[@]}" 2> /dev/null || true
  wait 2> /dev/null || true  # here and below, the shell would tell of each that was killed
}
trap 'end_all; exit 130' INT TERM

# The cards that the user has left visible, else all.
if [[ -v CUDA_VISIBLE_DEVICES ]]; then
  IFS=, read -ra cards <<< "$CUDA_VISIBLE_DEVICES"
else
  mapfile -t cards < <(nvidia-smi --query-gpu=index --format=csv,noheader 2> /dev/null || true)
fi
if (( ${#cards[@]} > 0 && ${#cards[@]} < count )); then
  export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"  # two processes would each reserve most of one card
fi
for (( number = 0; number < count; number++ )); do
  (( ${#cards[@]} >= count )) && export CUDA_VISIBLE_DEVICES="${cards[number]}"
  exec 3>&1  # the first process tells of the run, the others of nothing but errors
  (( number == 0 )) || exec 3> "$logs/$number.out"
  "$python" -m jaxpeft.main --coordinator="localhost:$port" --processes="$count" --process="$number" "$@" \
    >&3 3>&- 2> "$logs/$number.err" &
  number_of[$!]="$number"
done

while (( ${#number_of[@]} )); do
  code=0
  { wait -n -p ended "${!number_of[@]}" || code=$?; } 2> /dev/null
  number="${number_of[$ended]}"
  unset "number_of[$ended]"
  (( code == 0 )) && continue
  end_all
  told="$(grep -ls '^error: ' "$logs"/*.err | head -n 1 || true)"  # by whichever died: others follow it at once
  if [[ -n "$told" ]]; then  # what a user can mend, in the program's own words
    sed -n '/^error: /,$p' "$told" >&2
    rm -r "$logs"
    exit 2
  fi
  how="ended with exit code $code"
  (( code > 128 )) && how="was killed by signal $((code - 128))"
  echo "error: process $number of $count $how, so the others were ended: start the same command again to go on from" \
    "the last checkpoint; $logs/$number.err holds what it said" >&2
  exit 1
done
rm -r "$logs"
