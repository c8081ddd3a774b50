"""What tests of the study's programs share."""

import pytest

from tests import tiny


@pytest.fixture
def refused(capsys):
    """Runs a program in this process and returns its message, having checked that it ends as a user's error."""

    def run(program, *arguments):
        with pytest.raises(SystemExit) as stop:
            program(["program", *arguments])
        assert stop.value.code == 2
        message = capsys.readouterr().err
        assert message.startswith("error: ")
        return message

    return run


@pytest.fixture
def place(base, data, tmp_path):
    """A folder with the config of a task; the search's own folder is made inside."""
    config = tiny.experiment(base, data, train__epochs=2, data__near_duplicates=False)
    tiny.write_config(tmp_path / "task.py", config)
    return tmp_path
