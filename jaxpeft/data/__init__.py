"""From people's files to leakage-checked splits. Imports no jax; `load.load` is the door in."""
