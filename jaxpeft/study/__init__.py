"""Studies: grids of experiments, run to their end whatever happens, and what they cost."""
