"""Writing small files, and what a reader says when it refuses them."""

from pathlib import Path

import pytest

from jaxpeft.config import DataConfig
from jaxpeft.data.readers import read
from jaxpeft.errors import InputError

SECRET = "Wickersham"


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def error(root: Path, format: str = "i2b2_2012") -> str:
    with pytest.raises(InputError) as caught:
        read(DataConfig(format=format), str(root))
    assert SECRET not in str(caught.value)
    return str(caught.value)
