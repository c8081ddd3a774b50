"""Which leaf of the frozen base is split over which axis of the mesh, by its path and shape alone.

    leaf                                                    shape            over `model`
    kernels that widen or make heads (query, gate, ...)     [L, D_in, D_out] the output
    kernels that come back from there (output, down, ...)   [L, D_in, D_out] the input
    the table of words                                      [V, D]           the vocabulary
    all else: biases, norms, constants of adapters          any              no

So an attention head and a slice of the feed-forward are computed where their weights are, and one sum over `model`
ends each (Shoeybi et al. 2019, section 3). A fully sharded base is split over `data` as well, in the largest dimension
of a matrix that is left (Rajbhandari et al. 2020, stage 3). A dimension that does not divide stays whole.
"""

from jax.sharding import PartitionSpec

from jaxpeft.peft import base_path

DATA, MODEL = "data", "model"
SPLIT_OUTPUT = ("query", "key", "value", "intermediate", "gate", "up")
SPLIT_INPUT = ("output", "attention_output", "down")
WORDS = ("word", "embeddings")  # the latter is Llama's only table


def partition_spec(
    path: str, shape: tuple[int, ...], *, data: int, model: int, fully_sharded: bool = False
) -> PartitionSpec:
    """The axes of a frozen leaf's dimensions on a mesh of `data` x `model` devices."""
    *parents, role = base_path(path).split(".")
    axes: list[str | None] = [None] * len(shape)
    dimension = _model_dimension(parents, role, shape)
    if model > 1 and dimension is not None and shape[dimension] % model == 0:
        axes[dimension] = MODEL
    if fully_sharded and data > 1 and role in ("kernel", "embedding"):
        # Never the layers: a scan takes one at a time, and each device is to hold a part of every one.
        free = [place for place in (-2, -1) if axes[place] is None and shape[place] % data == 0]
        if free:
            axes[max(free, key=lambda place: shape[place])] = DATA
    return PartitionSpec(*axes)


def _model_dimension(parents: list[str], role: str, shape: tuple[int, ...]) -> int | None:
    """The dimension that is split over `model` where it divides."""
    if role == "embedding":
        return 0 if parents[-1] in WORDS else None
    if role != "kernel" or parents[0] != "layers" or len(shape) != 3:
        return None
    name = parents[-2] if parents[-1] == "dense" else parents[-1]  # MobileBERT wraps a layer with what follows it
    if name in SPLIT_OUTPUT:
        return 2
    return 1 if name in SPLIT_INPUT else None
