"""BitFit (Ben Zaken et al. 2022): every bias of the encoder trains, those of its norms too, and nothing is added."""


def trains(path: str, config: None) -> bool:
    """Whether the leaf trains."""
    return path.rsplit(".", 1)[-1] == "bias"
