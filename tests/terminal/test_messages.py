"""Lines for the user: which process prints them, and where."""

import sys
from types import SimpleNamespace

import pytest

from lightning_vision.terminal.first_rank import is_first
from lightning_vision.terminal.messages import muted, print_line, print_notice


def test_the_answer_and_what_stands_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("12 images [red]:smile:")
    print_notice("2 files were skipped")
    assert capsys.readouterr() == ("12 images [red]:smile:\n", "2 files were skipped\n")


def test_nothing_where_it_is_muted_and_everything_after(capsys: pytest.CaptureFixture[str]) -> None:
    with muted():
        with muted(False):
            print_line("inside")
        print_notice("inside")
    print_line("after")
    assert capsys.readouterr() == ("after\n", "")


@pytest.mark.parametrize(("rank", "prints"), [(0, True), (1, False)])
def test_another_rank_prints_nothing(
    rank: int, prints: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = SimpleNamespace(rank_zero_only=SimpleNamespace(rank=rank))
    monkeypatch.setitem(sys.modules, "lightning.fabric.utilities.rank_zero", known)
    print_line("a line")
    assert (capsys.readouterr().out == "a line\n") is prints is is_first()


@pytest.mark.parametrize(
    ("variables", "first"), [({}, True), ({"RANK": "0", "LOCAL_RANK": "1"}, True), ({"SLURM_PROCID": "3"}, False)]
)
def test_the_rank_is_known_where_lightning_was_not_imported(
    variables: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "lightning.fabric.utilities.rank_zero", raising=False)
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_first() is first
