#!/usr/bin/env bash
# One run on several nodes under Slurm: sbatch [OPTIONS OF sbatch] launch/slurm.sh [FLAGS OF jaxpeft.main]
# From the top of the repository, which all nodes see under the same path, as they do the data and the workdir.
# One process a GPU: JAX finds the others through Slurm and takes the GPU of its number on the node. Options given on
# the command line take the place of those here. Sent again with the same flags, a run goes on from its checkpoint.
#SBATCH --job-name=jaxpeft
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --output=jaxpeft-%j.log
set -euo pipefail
# Slurm runs a copy of this file elsewhere, in the folder that it was sent from or that --chdir names.
[[ -v SLURM_JOB_ID ]] || cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ ! -f launch/environment.sh ]]; then
  echo "error: $PWD is not the top of the repository: send the job from there, or with --chdir" >&2
  exit 2
fi
source launch/environment.sh

find_environment  # once, before the processes start: they share it
install_once requirements.txt
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"  # from Slurm 22.05 on, srun does not take it over by itself
exec srun --kill-on-bad-exit=1 "$python" -m jaxpeft.main "$@"
