"""What a checkpoint keeps, and the checkpoints of a run one after another."""

import shutil
from pathlib import Path

import pytest
import torch
from command_line import QUICK, checkpoint_of, fit
from trusting import opened

from lightning_vision.cli import main
from lightning_vision.errors import CheckpointError
from lightning_vision.learning.checkpoint_file import save_checkpoint
from lightning_vision.learning.checkpoints import read_checkpoint
from lightning_vision.learning.earlier_checkpoints import Kept, as_it_was, earlier_checkpoints
from lightning_vision.trust.kept_calibration import KEY, Trusted, keep_trusted, read_trusted

OPTIONS = (
    "--data.stream=ClassIncremental", "--data.stream.experiences=2", "--model.strategy=NearestMean", "--data.per_class=16",
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("runs"), "run", *OPTIONS, "--keep_checkpoints=all")


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def same(one: object, two: object) -> bool:
    """Equal bit for bit, at any depth."""
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict) and isinstance(two, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        return type(one) is type(two) and len(one) == len(two) and all(map(same, one, two))
    return type(one) is type(two) and one == two


def test_all_else_in_the_checkpoint_stays(run: Path) -> None:
    path = run / "checkpoints" / "experience=0001.ckpt"
    before = read_checkpoint(path)
    assert read_trusted(path) is None
    keep_trusted(Trusted(1.5, 0.7, 0.95, 0.02), path)
    after = read_checkpoint(path)
    assert after.pop(KEY) == {"temperature": 1.5, "threshold": 0.7, "coverage": 0.95, "risk": 0.02}
    assert same(before, after)
    assert read_trusted(path) == Trusted(1.5, 0.7, 0.95, 0.02)
    keep_trusted(Trusted(2.0), path)
    assert read_trusted(path) == Trusted(2.0, None, None, None)


def test_a_run_resumes_from_it(tmp_path: Path) -> None:
    """The entry of an earlier experience neither hinders the next nor is taken for its own."""
    run = fit(tmp_path, "run", *OPTIONS, "--stop_after=0")
    keep_trusted(Trusted(1.5, 0.7, 0.95, 0.02), run / "checkpoints" / "experience=0000.ckpt")
    options = [f"--trainer.default_root_dir={tmp_path}", "--run_name=run", "--ckpt_path=last"]
    assert main(["fit", *QUICK, *OPTIONS, *options]) == 0
    assert KEY not in checkpoint_of(run)
    assert KEY in checkpoint_of(run, 0)
    assert main(["test", *QUICK, *OPTIONS, f"--ckpt_path={run / 'checkpoints' / 'experience=0000.ckpt'}"]) == 0


@pytest.mark.parametrize("entry", [{"temperature": 0.0}, {"temperature": float("nan")}, {"warmth": 1.0}, [1.0]])
def test_an_entry_that_cannot_be_used(entry: object, run: Path) -> None:
    path = run / "checkpoints" / "experience=0001.ckpt"
    save_checkpoint(read_checkpoint(path) | {KEY: entry}, path)
    with pytest.raises(CheckpointError, match=r"its temperature is not valid .* with --calibrate true"):
        read_trusted(path)


def test_the_checkpoints_before_one(run: Path) -> None:
    base, last = (run / "checkpoints" / f"experience={number:04d}.ckpt" for number in (0, 1))
    assert earlier_checkpoints(last, 1) == [Kept(base, 0)]
    assert earlier_checkpoints(base, 0) == []


def test_an_earlier_one_is_as_it_was_and_the_own_comes_back(run: Path) -> None:
    """After the base the head of two classes predicts; after the last experience the means of four."""
    base, last = (run / "checkpoints" / f"experience={number:04d}.ckpt" for number in (0, 1))
    given = opened(last, *OPTIONS)
    model, data = given.model, given.datamodule
    before_model = opened(base, *OPTIONS).model
    image = torch.randint(256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for each in (model, before_model):
        each.eval()
    with torch.no_grad():
        now = model(image)
        with as_it_was(model, base, data.stream):
            assert torch.equal(model(image), before_model(image))
            assert model.network.seen.tolist() == [True, True, False, False]
        assert torch.equal(model(image), now)
        with pytest.raises(KeyError), as_it_was(model, base, data.stream):
            raise KeyError
        assert torch.equal(model(image), now), "after an error too"


def test_a_buffer_that_was_none_is_none_again(run: Path) -> None:
    base, last = (run / "checkpoints" / f"experience={number:04d}.ckpt" for number in (0, 1))
    given = opened(last, *OPTIONS)
    model, data = given.model, given.datamodule
    model.strategy.register_buffer("filled_later", torch.ones(2))
    save_checkpoint(read_checkpoint(last) | {"state_dict": model.state_dict()}, last)
    with as_it_was(model, base, data.stream):
        assert model.strategy.filled_later is None
    assert torch.equal(model.strategy.filled_later, torch.ones(2))


def test_a_teacher_that_a_strategy_made_since_is_set_aside(run: Path) -> None:
    base, last = (run / "checkpoints" / f"experience={number:04d}.ckpt" for number in (0, 1))
    given = opened(last, *OPTIONS)
    model, data = given.model, given.datamodule
    model.strategy.teacher = teacher = torch.nn.Linear(2, 2)
    weight = teacher.weight.detach().clone()
    with as_it_was(model, base, data.stream):
        assert model.network.seen.tolist() == [True, True, False, False]
    assert torch.equal(teacher.weight, weight)
    saved = read_checkpoint(base)
    del saved["state_dict"]["network.head.weight"]
    save_checkpoint(saved, base)
    with pytest.raises(
        CheckpointError, match=r"does not fit this model: network\.head\.weight is only in one of the two"
    ):
        as_it_was(model, base, data.stream).__enter__()


def test_a_checkpoint_of_another_run_is_refused(run: Path) -> None:
    base, last = (run / "checkpoints" / f"experience={number:04d}.ckpt" for number in (0, 1))
    given = opened(last, *OPTIONS)
    model, data = given.model, given.datamodule
    other = read_checkpoint(base)
    save_checkpoint(other | {"lightning_vision": other["lightning_vision"] | {"class_names": ["red"]}}, base)
    with pytest.raises(CheckpointError, match=r"0000\.ckpt does not fit this model:\n  class_names: \['red'\] in"):
        as_it_was(model, base, data.stream).__enter__()
