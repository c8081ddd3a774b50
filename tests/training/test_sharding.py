"""Which leaf is split over which axis, and what of it a device then holds."""

import jax
import pytest
from flax import nnx

from jaxpeft import peft
from jaxpeft.config import Config, MeshConfig
from jaxpeft.models import MODELS
from jaxpeft.training.parallel import Sharded
from jaxpeft.training.sharding import DATA, MODEL, partition_spec
from tests.models.test_architectures import shell

NARROW = ("bottleneck", "shared_bottleneck", "widen")  # MobileBERT's, from where every device needs the whole state


def specs(model_type, **settings):
    """Path -> (shape, axes) of every leaf of a model with LoRA, on 2 x 2 devices."""
    model = shell(model_type, vocab_size=62)
    adapted = nnx.eval_shape(lambda bare: peft.attach(bare, Config().peft, jax.random.key(0), ()), model)
    return {
        path: (leaf.shape, tuple(partition_spec(path, leaf.shape, data=2, model=2, **settings)))
        for path, leaf in peft.flatten(adapted)[1].items()
    }


@pytest.mark.parametrize("model_type", MODELS)
def test_matrices_of_layers_and_the_table_of_words_are_split_over_the_model_axis(model_type):
    found = specs(model_type)
    split = {path for path, (_, axes) in found.items() if MODEL in axes}
    kernels = {path for path in found if path.startswith("layers.") and path.endswith(".kernel")}
    whole = {path for path in kernels if path.split(".")[1] in NARROW}
    tables = {path for path in found if path in ("embeddings.word.embedding", "embeddings.embedding")}
    assert len(tables) == 1
    assert split == kernels - whole | tables


def test_heads_and_hidden_units_are_split_where_they_are_made_and_where_they_end():
    found = specs("bert")
    for name in ("attention.query.base", "attention.key", "attention.value.base", "intermediate"):
        assert found[f"layers.{name}.kernel"][1] == (None, None, MODEL), name
    for name in ("attention.output", "output"):
        assert found[f"layers.{name}.kernel"][1] == (None, MODEL, None), name
    assert found["embeddings.word.embedding"][1] == (MODEL, None)


def test_a_dimension_that_does_not_divide_stays_whole():
    assert tuple(partition_spec("embeddings.word.embedding", (61, 24), data=2, model=2)) == (None, None)
    assert tuple(partition_spec("layers.output.kernel", (3, 40, 24), data=2, model=3)) == (None, None, None)


def test_fully_sharded_splits_what_is_left_of_matrices_but_never_the_layers():
    found = specs("bert", fully_sharded=True)
    assert found["layers.intermediate.kernel"] == ((2, 24, 40), (None, DATA, MODEL))
    assert found["layers.output.kernel"] == ((2, 40, 24), (None, MODEL, DATA))
    assert found["embeddings.word.embedding"] == ((62, 24), (MODEL, DATA))
    assert found["embeddings.position.embedding"] == ((36, 24), (DATA, None))
    small = {path for path, (_, axes) in found.items() if not any(axes)}
    assert {path.rsplit(".", 1)[-1] for path in small} >= {"bias", "scale", "lora_a", "lora_b"}
    assert not [path for path in small if path.startswith("layers.") and path.endswith("kernel")]


@pytest.mark.parametrize(("fully_sharded", "share"), [(False, 2), (True, 4)])
def test_a_device_holds_its_share_of_a_matrix_and_no_more(fully_sharded, share):
    place = Sharded(MeshConfig(model=2, fully_sharded=fully_sharded))
    kernel = jax.numpy.zeros((2, 24, 40))
    placed = place.place_frozen({"layers.intermediate.kernel": kernel})["layers.intermediate.kernel"]
    assert placed.shape == kernel.shape
    assert [part.data.size for part in placed.addressable_shards] == [kernel.size // share] * 4
