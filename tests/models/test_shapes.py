"""Models by name: the sizes are those that their owners published."""

import pytest

from jaxpeft import peft
from jaxpeft.config import Config
from jaxpeft.errors import InputError
from jaxpeft.models.shapes import SHAPES, config_of
from jaxpeft.training.system import abstract

PUBLISHED = {  # parameters with a classifier of two labels; Llama's without the head of the language model
    "bert-base": 109_483_778,
    "tinybert": 14_350_874,
    "distilbert": 66_955_010,
    "mobilebert": 24_582_914,
    "llama-2-7b": 6_738_415_616 - 32_000 * 4096 + 2 * 4096,
    "llama-2-13b": 13_015_864_320 - 32_000 * 5120 + 2 * 5120,
    "llama-2-70b": 68_976_648_192 - 32_000 * 8192 + 2 * 8192,
    "llama-3-8b": 8_030_261_248 - 128_256 * 4096 + 2 * 4096,
    "llama-3-70b": 70_553_706_496 - 128_256 * 8192 + 2 * 8192,
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_the_published_number_of_parameters(name):
    model = abstract(Config(), config_of(f"shape:{name}"), 2)
    assert sum(leaf.size for leaf in peft.flatten(model)[1].values()) == PUBLISHED[name]


def test_an_unknown_shape_is_named_with_those_that_there_are():
    with pytest.raises(InputError, match=r"'shape:gpt-5': no such shape; there are shape:bert-base, .*llama-3-70b"):
        config_of("shape:gpt-5")
