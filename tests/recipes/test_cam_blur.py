"""CamBlur: what is blurred, and that a resumed run blurs the same."""

import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import checkpoint_of, fit, start
from interruptions import interrupt
from test_resume import check_equal
from trial_images import Images

from lightning_vision.errors import ConfigError
from lightning_vision.learning.checkpoints import read_checkpoint
from lightning_vision.recipes import CamBlur
from lightning_vision.results.schema import read_results

# Noise that hides the colours: after an epoch there are errors left.
COMMON = (
    "--model.strategy=FullFineTune",
    "--model.base_strategy=FullFineTune",
    "--model.restore_best=false",
    "--data.stream.experiences=1",
    "--data.image_size=32",
    "--data.per_class=10",
    "--data.noise=200",
    "--data.batch_size=8",
    "--trainer.log_every_n_steps=1",
)


def callbacks(options: str = "{}") -> str:
    recipe = f"{{class_path: lightning_vision.recipes.CamBlur, init_args: {options}}}"
    own = ("trial_images.Images", "interruptions.Interrupt")
    return f"--trainer.callbacks=[{', '.join([recipe, *(f'{{class_path: {name}}}' for name in own)])}]"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cam_blur")


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    Images.kept.clear()
    return fit(place, "whole", *COMMON, "--data.train_transforms=Identity", callbacks())


def test_errors_and_nothing_else_are_blurred_in_a_stage_of_its_own(whole: Path) -> None:
    results = read_results(whole / "results.json")
    assert [record.epochs for record in results.experiences] == [1 + 2]
    (note,) = results.notes
    pattern = (
        r"after experience 0: CamBlur: (\d+) of 24 training images are .*; in (\d+) of them (\d+)% of the area was .*"
    )
    found = re.fullmatch(pattern, note)
    assert found is not None
    errors, regions, share = map(int, found.groups())
    assert 24 >= errors >= regions > 0 and 0 < share < 100
    steps = 3
    plain = {row: image for batch in Images.kept[:steps] for row, image in batch.items()}
    later = {row: image for batch in Images.kept[steps : 2 * steps] for row, image in batch.items()}
    again = {row: image for batch in Images.kept[2 * steps :] for row, image in batch.items()}
    assert len(plain) == len(later) == len(again) == 24
    blurred = {row for row in plain if not torch.equal(plain[row], later[row])}
    assert len(blurred) == regions
    assert all(torch.equal(later[row], again[row]) for row in later)
    assert all(later[row].std() < plain[row].std() for row in blurred)


def test_a_run_that_was_stopped_in_it_blurs_the_same(place: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = (*COMMON, "--data.train_transforms=Identity", callbacks(), "--ckpt_path=last")
    for key, value in interrupt("0::1:1", signal.SIGTERM).items():  # epoch 1 is of its stage alone
        monkeypatch.setenv(key, value)
    assert start(place, "stopped", *command) == 128 + signal.SIGTERM
    (last,) = (place / "stopped" / "checkpoints").glob("*stage=1-last.ckpt")
    (state,) = [state for key, state in read_checkpoint(last)["callbacks"].items() if key.startswith("CamBlur")]
    assert state["masks"].dtype == torch.uint8 and set(state["masks"].unique().tolist()) == {0, 255}
    assert len(state["masks"]) == len(state["rows"]) > 0
    check_equal(fit(place, "stopped", *command), whole)


def test_the_most_confident_errors_are_taken_first(place: Path) -> None:
    run = fit(place, "confident", *COMMON, callbacks("{most: 2, epochs: 1, method: LayerCAM}"))
    (note,) = read_results(run / "results.json").notes
    assert re.search(r"in [12] of them \(the most confident errors\)", note)


def test_tokens_in_the_backbone_are_no_places(place: Path) -> None:
    """They are set after the target layer was found for the first time, before the run."""
    tokens = ("--model.backbone=test_vit", "--model.base_strategy=FirstSession", "--model.base_strategy.mode=tokens")
    run = fit(place, "tokens", *COMMON, *tokens, callbacks("{epochs: 1}"))
    (note,) = read_results(run / "results.json").notes
    assert re.search(r"of 24 training images are misclassified; in \d+ of them", note)


def test_without_errors_it_says_so_and_trains_on(place: Path) -> None:
    easy = ("--data.noise=1", "--trainer.max_epochs=8", "--data.per_class=16", "--model.optimizer=torch.optim.AdamW")
    run = fit(place, "easy", *COMMON, *easy, "--model.optimizer.lr=3e-3", callbacks("{epochs: 1}"))
    results = read_results(run / "results.json")
    assert results.notes == ["after experience 0: CamBlur found no error among 38 training images, and blurs nothing."]
    assert [record.epochs for record in results.experiences] == [9]


def test_masks_are_in_no_finished_checkpoint(whole: Path) -> None:
    assert "callbacks" not in checkpoint_of(whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs: expected 1 or more, found 0"),
        ({"threshold": 0.0}, "threshold: expected a number above 0 and at most 1, found 0.0"),
        ({"sigma": 2.0}, "sigma: expected a number above 0 and at most 1, found 2.0"),
        ({"most": 0}, "most: expected 1 or more, found 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"CamBlur.{message}"):
        CamBlur(**options)


def test_an_unknown_map_is_refused_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(tmp_path, "unknown", *COMMON, callbacks("{method: GradCAMM}")) == 2
    assert "there is no 'GradCAMM'. Known methods, similar names first: GradCAM" in capsys.readouterr().err
    assert not (tmp_path / "unknown" / "results.json").exists()
