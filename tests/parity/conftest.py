"""Models that the parity tests share."""

import pytest

from . import peers


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """A saved random model for each cell, made once."""
    made = {}

    def folder_of(model_type, task, **changes):
        key = (model_type, task, *map(repr, changes.items()))
        if key not in made:
            made[key] = peers.tiny_model(tmp_path_factory.mktemp("base"), model_type, peers.HEADS[task], **changes)
        return made[key]

    return folder_of
