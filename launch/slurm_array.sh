#!/usr/bin/env bash
# A study in shards under Slurm: sbatch --array=1-8 [OPTIONS OF sbatch] launch/slurm_array.sh [FLAGS OF jaxpeft.study]
# From the top of the repository, which all nodes see under the same path, as they do the data and --workdir: its file
# system needs locks (NFS 4, Lustre mounted with flock, GPFS). Every task of the array takes its share of the runs, one
# after the other on its own GPU. Sent again with the same flags, what is finished stays and the rest goes on.
#SBATCH --job-name=jaxpeft-study
#SBATCH --ntasks=1
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --output=jaxpeft-study-%A-%a.log
set -euo pipefail
# Slurm runs a copy of this file elsewhere, in the folder that it was sent from or that --chdir names.
[[ -v SLURM_JOB_ID ]] || cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ ! -f launch/environment.sh ]]; then
  echo "error: $PWD is not the top of the repository: send the job from there, or with --chdir" >&2
  exit 2
fi
source launch/environment.sh

: "${SLURM_ARRAY_TASK_ID:?start it as an array: sbatch --array=1-8 launch/slurm_array.sh}"
step="${SLURM_ARRAY_TASK_STEP:-1}"
if (( (SLURM_ARRAY_TASK_MAX - SLURM_ARRAY_TASK_MIN) / step + 1 != SLURM_ARRAY_TASK_COUNT )); then
  echo "error: the array has gaps, and its tasks would leave runs out: give a range, --array=1-8" >&2
  exit 2
fi
find_environment
install_once requirements.txt
shard="$(( (SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN) / step + 1 ))/$SLURM_ARRAY_TASK_COUNT"
exec "$python" -m jaxpeft.study --shard="$shard" "$@"
