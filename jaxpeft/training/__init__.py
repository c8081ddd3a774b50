"""From a config to a finished workdir, and back from it."""
