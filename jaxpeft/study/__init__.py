"""A grid of experiments and its report."""
