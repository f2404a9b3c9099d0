"""What a strategy draws follows the run's seed: from one base two seeds differ, and pinned they do not."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml
from command_line import fit

from lightning_vision.cli import main
from lightning_vision.learning.checkpoints import find_checkpoint, read_checkpoint
from lightning_vision.results.schema import read_results

STREAM = ("--data.stream.experiences=2", "--data.noise=80")
STRATEGIES = {
    "RanPAC": ("--model.strategy=RanPAC", "--model.strategy.projections=20"),
    "ACIL": ("--model.strategy=ACIL", "--model.strategy.expansion=20"),
    "forest": ("--model.strategy=SklearnHead", "--model.strategy.estimator_args.n_estimators=5"),
}
PINNED = "--model.strategy.seed=0"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base that all runs share."""
    return fit(tmp_path_factory.mktemp("seeds"), "base", *STREAM, "--stop_after=0")


def learn(base: Path, name: str, run: str, seed: int, *more: str) -> Path:
    """The run directory of a strategy that started from the base."""
    options = (*STREAM, f"--model.base_checkpoint={base}", f"--seed_everything={seed}", *STRATEGIES[name], *more)
    return fit(base.parent, f"{name}-{run}", *options)


def pinned(base: Path, name: str, seed: int) -> Path:
    """The same with a draw that is the same for all seeds; run once."""
    run = base.parent / f"{name}-pinned={seed}"
    return run if run.exists() else learn(base, name, f"pinned={seed}", seed, PINNED)


def confidence(run: Path) -> npt.NDArray[np.float32]:
    """Of the predictions after the last experience, (N,)."""
    with np.load(run / "predictions.npz") as file:
        found: npt.NDArray[np.float32] = file["confidence"][-1]
    return found


@pytest.mark.parametrize("name", STRATEGIES)
def test_of_one_base_two_seeds_differ_unless_the_draw_is_pinned(base: Path, name: str) -> None:
    first, other = (confidence(learn(base, name, f"seed={seed}", seed)) for seed in (0, 1))
    assert (first != other).any()
    first, other = (confidence(pinned(base, name, seed)) for seed in (0, 1))
    np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize("name", ["RanPAC", "forest"])
def test_a_run_that_began_with_seed_0_by_default_resumes_with_it(
    base: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command as it was, which names no seed of the strategy; and a checkpoint that does not say its run's is read."""
    run = learn(base, name, "older", 1, PINNED, "--stop_after=0")
    learn(base, name, "older", 1, "--ckpt_path=last")
    told = "Keeping model.strategy.seed: 0, as in the run; the default is now None."
    assert told in " ".join(capsys.readouterr().out.split())
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["strategy"]["init_args"]["seed"] == 0
    np.testing.assert_array_equal(confidence(run), confidence(pinned(base, name, 1)))

    path = find_checkpoint(run)
    checkpoint = read_checkpoint(path)
    del checkpoint["lightning_vision"]["seed"]
    torch.save(checkpoint, path)
    accuracy = read_results(run / "results.json").test_accuracy[-1]
    assert main(["test", f"--ckpt_path={run}"]) == 0
    assert read_results(run / "results.json").test_accuracy[-1] == accuracy
