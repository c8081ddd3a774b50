"""Packed batches through the whole program: the same logits, few compilations, and a restore to the bit."""

import re
import time

import jax
import numpy as np
import pytest

from jaxpeft.data.load import load
from jaxpeft.data.packing import Packing
from jaxpeft.errors import InputError
from jaxpeft.models import attention
from jaxpeft.tasks.registry import TASKS, task_of
from jaxpeft.training import system
from jaxpeft.training.evaluation import Evaluator, prepare
from jaxpeft.training.parallel import Placement, Pmap
from jaxpeft.training.restore import Restored
from jaxpeft.training.run import train
from jaxpeft.training.start import build
from jaxpeft.training.workdir import Workdir
from jaxpeft.validate import validate
from tests import tiny

PACKED = {"train__epochs": 2, "train__accumulate": 2}


@pytest.mark.parametrize("place", [Placement, Pmap])
@pytest.mark.parametrize("of_words", [False, True])
def test_packed_evaluation_gives_the_logits_of_a_text_a_row(of_words, place, request):
    folders = ("tagged_base", "tagged_data") if of_words else ("base", "data")
    settings = {"task": "token_classification"} if of_words else {}
    config = tiny.experiment(
        *map(request.getfixturevalue, folders), peft__method="prompt", data__max_length=24, **settings
    )
    splits = load(config.data, 1, None, False)
    task = task_of(config, TASKS[config.task].classes_of(splits.labels))
    model = system.build(config, task.classes, seed=1)
    examples = prepare(splits.test, model.encoder, task, None)
    found = []
    for packs in (None, model.prompt_length()):
        where = place()
        evaluator = Evaluator(model.graphdef, where, (16, 24), 16, packs)
        found.append(evaluator.logits(where.replicate(model.trainable), where.place_frozen(model.frozen), examples))
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)


def test_a_packed_run_learns_compiles_few_shapes_and_is_restored_to_the_bit(base, data, tmp_path, monkeypatch):
    config, made, original = tiny.experiment(base, data, **PACKED), [], Packing.batch
    monkeypatch.setattr(Packing, "batch", lambda *args, **kwargs: made.append(original(*args, **kwargs)) or made[-1])
    result = train(config, Workdir(tmp_path / "run"), started=time.time())
    assert result["steps"] == len(made) == 2 * 5
    restored = Restored(tmp_path / "run")
    needed = []
    for one in made:
        passes, rows, texts, longest = one["grid"].shape
        needed.append(restored.system.step_flops(passes * rows * texts, longest, one["ids"].size))
    assert result["flops"] == sum(needed)
    report = restored.evaluate("test")
    assert report["against_result"] == {"checked": "to the bit", "same": True, "largest_difference": 0.0}


def test_cudnn_is_refused_where_it_cannot_train(tmp_path, monkeypatch):
    base = tiny.write_base(tmp_path / "base")
    asks = {"model__attention": "cudnn", "model__dtype": "bfloat16"}
    with pytest.raises(InputError, match=re.escape("model.dtype=bfloat16")):
        validate(tiny.experiment(base, base, **asks | {"model__dtype": "float32"}))
    validate(tiny.experiment(base, base, **asks))
    with pytest.raises(InputError) as raised:
        build(tiny.experiment(base, base, **asks, peft__method="prefix", peft__prefix__tokens=3), tiny.LABELS, None)
    for fragment in ("NVIDIA GPU", "the model's have 6", "rate is 0.1", "even number", "model.attention=auto"):
        assert fragment in str(raised.value)
    monkeypatch.setattr(attention, "_compute_capability", lambda: (9, 0))
    able = tiny.write_base(
        tmp_path / "able", tiny.tensors(num_attention_heads=3), num_attention_heads=3, attention_probs_dropout_prob=0.0
    )
    build(tiny.experiment(able, able, **asks), tiny.LABELS, None)
    assert jax.default_backend() == "cpu"
