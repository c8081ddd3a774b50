"""The table that ties a model's leaves to the tensors of a Hugging Face checkpoint."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

LAYER = "{layer}"  # in a name or pattern: the layer's number


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One leaf: its name in a checkpoint (`{layer}` stands for the layer's number) and its dotted path here."""

    name: str
    path: str
    transpose: bool = False  # torch holds linear weights as (out, in)

    @property
    def stacked(self) -> bool:
        """Whether the leaf has a leading layer axis and a tensor for each layer."""
        return LAYER in self.name

    def names(self, layers: int) -> list[str]:
        """The checkpoint's tensors that fill this leaf: one, or one a layer."""
        return [name for _, name in in_each_layer(self.name, layers)]


def in_each_layer(name: str, layers: int) -> Iterator[tuple[tuple[int, ...], str]]:
    """(index into a leaf, name) for each layer of a stack, or for the one module that stands alone, with index ()."""
    if LAYER not in name:
        yield (), name
        return
    for layer in range(layers):
        yield (layer,), name.replace(LAYER, str(layer))


def linear(name: str, path: str, *, use_bias: bool = True) -> tuple[Tensor, ...]:
    """Weight and bias of a linear layer."""
    weight = Tensor(f"{name}.weight", f"{path}.kernel", transpose=True)
    return (weight, Tensor(f"{name}.bias", f"{path}.bias")) if use_bias else (weight,)


def layer_norm(name: str, path: str) -> tuple[Tensor, ...]:
    """Scale and bias of a layer norm."""
    return *scale(name, path), Tensor(f"{name}.bias", f"{path}.bias")


def scale(name: str, path: str) -> tuple[Tensor, ...]:
    """The scale of a norm without a bias."""
    return (Tensor(f"{name}.weight", f"{path}.scale"),)


def embedding(name: str, path: str) -> tuple[Tensor, ...]:
    """The table of an embedding."""
    return (Tensor(f"{name}.weight", f"{path}.embedding"),)


def linear_modules(table: Sequence[Tensor]) -> Mapping[str, str]:
    """Dotted path of every linear layer -> its module name in Hugging Face's model."""
    return {
        tensor.path.removesuffix(".kernel"): tensor.name.removesuffix(".weight")
        for tensor in table
        if tensor.path.endswith(".kernel")
    }
