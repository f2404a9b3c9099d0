"""Commands that must be refused in words."""

from collections.abc import Sequence

import pytest

from lightning_vision.cli import main


def refused(capsys: pytest.CaptureFixture[str], args: Sequence[str], code: int, *words: str) -> str:
    """The message of a command that must end with an exit code and say these words; never a traceback."""
    capsys.readouterr()
    found = main(list(args))
    error = capsys.readouterr().err
    assert found == code, error
    assert "Traceback" not in error
    assert "error: " in error
    for word in words:
        assert word in error, error
    return error.split("error: ", 1)[1]
