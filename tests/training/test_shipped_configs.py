"""Every shipped config, with a toy model and a toy corpus: it builds, takes a step, and is scored."""

import json
import time

import pytest

from jaxpeft.config import settle
from jaxpeft.data.synthetic import GENERATORS
from jaxpeft.tasks.registry import TASKS
from jaxpeft.training.run import train
from jaxpeft.training.workdir import Workdir
from jaxpeft.validate import validate
from tests import tiny

SHIPPED = sorted((tiny.ROOT / "configs").glob("*.py"))
DOCUMENTS = {"mimic3": 60}  # of the toy corpus: fewer leave a split without a label


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A base of one layer: it compiles fastest."""
    folder = tmp_path_factory.mktemp("base")
    return tiny.write_base(folder, tiny.tensors(num_hidden_layers=1), num_hidden_layers=1)


def shipped(path):
    namespace = {}
    exec(path.read_text(), namespace)
    return namespace["get_config"]()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_it_takes_a_step(path, small, tmp_path):
    config = shipped(path)
    assert config.name == path.stem
    config.model.ref, config.parallel = str(small), "jit"
    config.data.max_length, config.data.buckets, config.data.near_duplicates = 24, 1, False
    corpus = config.data.synthetic.corpus
    config.data.synthetic.documents = DOCUMENTS.get(corpus, max(4, GENERATORS[corpus].minimum))
    config.train.steps, config.train.batch_size, config.train.eval_batch_size = 1, 8, 64
    validate(settle(config))
    result = train(config, Workdir(tmp_path / "run"), started=time.time())
    assert result["steps"] == 1
    assert result["metrics"]["test"][TASKS[config.task].default_metric]["value"] is not None
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["format"] == "synthetic"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_it_says_what_to_run_and_what_to_expect(path):
    text = path.read_text().partition('"""\n\nfrom')[0]
    assert f"python -m jaxpeft.main --config=configs/{path.name}" in text
    assert "Expect on test:" in text
