"""Where a run is: a live line in a terminal, plain lines elsewhere, and a time left that follows the work."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from command_line import start
from lightning.pytorch import LightningModule, Trainer
from rich.console import Console

from lightning_vision.data.stream import Experience
from lightning_vision.tracking import progress as module
from lightning_vision.tracking.progress import StreamProgress, make_console

ROWS = np.zeros(1, dtype=np.int64)
BASE = Experience(0, "base", True, (0,), (0,), (0,), ROWS, ROWS, ROWS)
BATCH = {"label": np.zeros(10)}


class Clock:
    """Seconds that pass when they are told to."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    return Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, max_epochs=3
    )


def evaluate(progress: StreamProgress, trainer: Trainer) -> None:
    """One batch of ten images."""
    progress.on_test_batch_end(trainer, LightningModule(), None, BATCH, 0)


class TestTimeLeft:
    def test_it_follows_the_work(self, clock: Clock, trainer: Trainer) -> None:
        """Half of the work in 30 s leaves 30 s; what was evaluated before the first experience is not in the plan."""
        progress = StreamProgress(Console(file=io.StringIO()))
        progress.begin([40.0, 40.0], 0)
        evaluate(progress, trainer)
        clock.now += 1000
        progress.experience(BASE)
        assert progress._left() == "", "nothing is done yet, so nothing is known"
        for _ in range(4):
            evaluate(progress, trainer)
        clock.now += 30
        assert progress._left() == "30 s left"

    def test_a_resumed_run_counts_its_own_work_only(self, clock: Clock, trainer: Trainer) -> None:
        progress = StreamProgress(Console(file=io.StringIO()))
        progress.begin([1000.0, 20.0], 1)
        progress.experience(Experience(1, "increment 1", False, (0,), (), (0,), ROWS, ROWS, ROWS))
        evaluate(progress, trainer)
        clock.now += 8
        assert progress._left() == "8 s left"

    @pytest.mark.parametrize(
        ("seconds", "text"), [(5, "5 s left"), (89, "89 s left"), (90, "2 min left"), (3500, "58 min left"), (7500, "2 h 05 min left")]
    )  # fmt: skip
    def test_in_units_that_a_person_reads(self, seconds: int, text: str, clock: Clock, trainer: Trainer) -> None:
        progress = StreamProgress(Console(file=io.StringIO()))
        progress.begin([20.0], 0)
        progress.experience(BASE)
        evaluate(progress, trainer)
        clock.now += seconds
        assert progress._left() == text


def test_a_terminal_has_one_live_line_that_goes_away(clock: Clock, trainer: Trainer) -> None:
    file = io.StringIO()
    progress = StreamProgress(Console(file=file, force_terminal=True, width=100, legacy_windows=False, _environ={}))
    progress.begin([20.0, 20.0], 0)
    progress.experience(BASE)
    progress.on_train_epoch_start(trainer, LightningModule())
    progress.on_train_batch_end(trainer, LightningModule(), None, BATCH, 0)
    clock.now += 3
    progress.on_test_start(trainer, LightningModule())
    evaluate(progress, trainer)
    progress.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    assert "experience 1 of 2 (base) · evaluation" in shown
    assert "50 %" in shown
    assert file.getvalue().rstrip("\n").endswith("\x1b[2K"), "the line is erased at the end"
    progress.close()  # a second time does no harm


@pytest.mark.parametrize("environment", [{}, {"TERM": "dumb"}])
def test_where_a_line_cannot_be_erased_there_is_none(
    environment: dict[str, str], clock: Clock, trainer: Trainer
) -> None:
    """A file, and a terminal that cannot move its cursor: rich would leave a blank line for the erased one."""
    file = io.StringIO()
    progress = StreamProgress(Console(file=file, force_terminal=bool(environment), _environ=environment))
    progress.begin([20.0, 20.0], 0)
    progress.experience(BASE)
    progress.on_train_epoch_start(trainer, LightningModule())
    progress.say("a line")
    progress.close()
    assert file.getvalue() == "a line\n"


def test_names_are_no_markup() -> None:
    """A class or a date in brackets would be taken for a colour and vanish."""
    file = io.StringIO()
    StreamProgress(Console(file=file)).say("experience 1 of 2 ([red], [bold])")
    assert file.getvalue() == "experience 1 of 2 ([red], [bold])\n"


def test_a_run_without_a_terminal_prints_a_line_an_epoch_and_one_an_experience(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--trainer.enable_progress_bar=true", "--trainer.max_epochs=2", "--data.stream.experiences=2")
    assert start(tmp_path, "run", *options) == 0
    lines = capsys.readouterr().out.splitlines()
    for t, name in ((1, "base"), (2, "increment 1")):
        title = f"experience {t} of 2 ({name})"
        for epoch in (1, 2):
            (line,) = [line for line in lines if line.startswith(f"{title} · epoch {epoch} of 2")]
            assert re.search(r"loss \d\.\d{3} · validation accuracy \d\.\d{3}", line)
        (line,) = [line for line in lines if line.startswith(f"{title}: ")]
        assert "" not in lines[: lines.index(line)]
        assert re.search(r"test accuracy \d+\.\d %, 2 epochs, \d+\.\d s · \d+ s left", line)
    assert (
        lines[0]
        == "ColouredSquares: 4 classes, 58 training, 14 validation, 24 test images; InstanceIncremental with 2 experiences"
    )
    assert re.fullmatch(r"FullFineTune on test_resnet \(0\.\d\d M parameters\), 1 process on CPU", lines[1])
    assert lines[-1] == f"All results are in {tmp_path / 'run'}"


def test_switched_off_it_leaves_the_opening_and_the_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(tmp_path, "run", "--data.stream.experiences=2") == 0
    shown = capsys.readouterr().out
    assert "epoch 1" not in shown
    assert "left" not in shown
    assert "Cost" in shown


def test_where_there_is_no_terminal_tables_are_wide_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert make_console().width == 110


@pytest.mark.parametrize("found", [True, False])
def test_a_notebook_has_a_live_line_where_it_can_be_shown(found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if found and name == "ipywidgets" else None)
    assert module.shows_widgets(Console(force_jupyter=True)) is found
    assert not module.shows_widgets(Console(force_jupyter=False))
