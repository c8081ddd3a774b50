"""The table that ties a model's leaves to the tensors of a Hugging Face checkpoint."""

import dataclasses
from collections.abc import Mapping, Sequence

LAYER = "{layer}"


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
        if not self.stacked:
            return [self.name]
        return [self.name.replace(LAYER, str(layer)) for layer in range(layers)]


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
