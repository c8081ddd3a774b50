"""What tests of the study's programs share."""

import pytest


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
