"""Hyper-parameter search: trials chosen by their validation scores, the best retrained on fresh seeds and tested."""
