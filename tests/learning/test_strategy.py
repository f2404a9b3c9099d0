"""The plugin interface, hook by hook, with strategies that a third party could have written."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import trial_strategies
from coloured_squares import ColouredSquares
from command_line import changed, fit, start, weights_of
from torch import nn

from lightning_vision.data.scenarios import InstanceIncremental
from lightning_vision.learning.backbones import BackboneFacts
from lightning_vision.learning.checkpoints import read_checkpoint
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy, set_modes, trainable
from lightning_vision.results.schema import read_results, write_results

TWO_STAGES = (
    "--model.strategy=trial_strategies.HeadThenAll",
    "--trainer.max_epochs=2",
    "--model.restore_best=false",  # which would restore the counter as well
)
STREAM = ColouredSquares(stream=InstanceIncremental(experiences=3)).stream


class TestDefaults:
    def test_they_are_full_fine_tuning(self) -> None:
        torch.manual_seed(0)
        network = Network(nn.Flatten(), BackboneFacts("none", 12, (0.5,) * 3, (0.5,) * 3), 4)
        network.see([0, 2])
        strategy, image, label = Strategy(), torch.randn(6, 3, 2, 2), torch.tensor([0, 2, 0, 2, 0, 2])
        index = torch.arange(6)
        loss = strategy.loss(
            network, {"image": image, "label": label, "index": index, "experience": index, "valid": index >= 0}
        )
        seen = network(image)[:, [0, 2]]
        torch.testing.assert_close(loss, nn.functional.cross_entropy(seen, label // 2))
        assert list(strategy.parameters_to_train(network)) == list(network.parameters())
        assert strategy.stages(STREAM[0]) == ("",) and strategy.memory() is None and strategy.notes(network) == ()
        with pytest.raises(TypeError, match="Strategy declares kind = 'closed_form' and has no update"):
            strategy.update(network, torch.zeros(1, 12), torch.zeros(1, dtype=torch.int64))
        values = torch.ones(3)
        assert strategy.reduce(values) is values

    def test_groups_are_listed_once_though_generators_run_dry(self) -> None:
        layer = nn.Linear(2, 2)
        groups, flat = trainable([{"params": layer.parameters(), "lr": 0.5}])
        assert len(groups[0]["params"]) == len(flat) == 2
        groups, flat = trainable(layer.parameters())
        assert groups == flat == list(layer.parameters())

    def test_buffers_take_the_shape_that_a_checkpoint_has(self) -> None:
        grown = trial_strategies.Replay()
        grown.kept = torch.arange(9)
        fresh = trial_strategies.Replay()
        fresh.load_state_dict(grown.state_dict())
        assert fresh.kept.tolist() == list(range(9))
        means = trial_strategies.ClassMeans()
        means.load_state_dict({"sums": torch.ones(4, 5), "counts": torch.ones(4, dtype=torch.int64)})
        assert means.sums.shape == (4, 5) and means.counts.dtype == torch.int64


def test_frozen_in_part(tmp_path: Path) -> None:
    """Batch norm of the frozen blocks does not move, that of the block in training does."""
    run = fit(tmp_path, "last-block", "--model.strategy=trial_strategies.LastBlock", "--keep_checkpoints=all")
    base, end = weights_of(run, 0), weights_of(run)
    moved = changed(base, end)
    expected = {name for name in base if name.startswith(("network.backbone.layer4.", "network.head."))}
    assert moved == expected and any("running_mean" in name for name in moved)
    assert any("running_mean" in name for name in set(base) - moved)


class TestStages:
    @pytest.fixture(scope="class")
    def run(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        options = [*TWO_STAGES, "--keep_checkpoints=all"]
        return fit(tmp_path_factory.mktemp("stages"), "two", *options)

    def test_each_is_given_all_its_epochs_and_a_trainer_of_its_own(self, run: Path) -> None:
        results = read_results(run / "results.json")
        assert [e.epochs for e in results.experiences] == [2, 4, 4]
        steps = weights_of(run)["strategy.steps"].tolist()
        assert steps == [4, 4], "two increments of two epochs of one batch"
        assert results.experiences[1].trainable_parameters == results.network.total_parameters

    def test_in_the_first_only_the_head_learns(self, run: Path, tmp_path: Path) -> None:
        """Stopped by a bad second stage, the run keeps a checkpoint of the first, in which the backbone is the base's."""
        options = [*TWO_STAGES, "--model.strategy=trial_strategies.HeadThenNotANumber", "--keep_checkpoints=all"]
        assert start(tmp_path, "two", *options) == 1
        first = read_checkpoint(tmp_path / "two" / "checkpoints" / "experience=0001-stage=0-last.ckpt")["state_dict"]
        base = weights_of(tmp_path / "two", 0)
        assert changed(base, first) == {"network.head.weight", "network.head.bias"}
        assert changed(base, weights_of(run, 1)) > changed(base, first)


class TestMemory:
    @pytest.fixture(scope="class")
    def run(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        options = ["--model.strategy=trial_strategies.Replay", "--model.strategy.per_experience=3"]
        return fit(tmp_path_factory.mktemp("memory"), "replay", *options)

    def test_each_batch_is_given_images_of_the_past(self, run: Path) -> None:
        state = weights_of(run)
        sizes = state["strategy.sizes"]
        assert (sizes[:, 1] == 6).all(), "from the first increment on there is a memory"
        assert sizes[:, 0].sum() == sum(e.train_samples for e in read_results(run / "results.json").experiences[1:])

    def test_they_are_the_rows_that_memory_named(self, run: Path) -> None:
        state = weights_of(run)
        kept, served = state["strategy.kept"], state["strategy.served"]
        first = [row for experience in STREAM for row in experience.indices[:3].tolist()]
        assert kept.tolist() == first
        batches = served.reshape(-1, 6).tolist()
        assert all(set(batch) <= set(first[:6]) for batch in batches)
        assert set(served.tolist()) == set(first[:6]), "experience 2 draws from both"
        assert set(batches[0]) == set(first[:3]), "fewer than a batch: drawn more than once"

    def test_remembered_images_are_no_training_samples_but_go_through_the_backbone(self, run: Path) -> None:
        results = read_results(run / "results.json")
        batches = len(weights_of(run)["strategy.sizes"])
        seen = sum(e.backbone_images for e in results.experiences[1:])
        assert seen > sum(e.train_samples for e in results.experiences[1:]) + 6 * batches


class TestClosedForm:
    @pytest.fixture(scope="class")
    def run(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        options = ["--model.strategy=trial_strategies.ClassMeans", "--trainer.max_epochs=2", "--keep_checkpoints=all"]
        return fit(tmp_path_factory.mktemp("means"), "means", *options, "--model.base_epochs=3")

    def test_it_sees_the_bases_data_once_the_base_is_trained(self, run: Path) -> None:
        images = [len(experience.indices) for experience in STREAM]
        for t in range(3):
            assert weights_of(run, t)["strategy.counts"].sum() == sum(images[: t + 1])
        results = read_results(run / "results.json")
        assert [e.epochs for e in results.experiences] == [4, 1, 1], "three of the base, then one pass each"

    def test_the_backbone_is_the_bases(self, run: Path) -> None:
        assert changed(weights_of(run, 0), weights_of(run)) == set()

    def test_its_prediction_is_evaluated_from_the_base_on(self, run: Path) -> None:
        """Nearest class mean on colours is far better than the classifier after so short a training."""
        accuracy = read_results(run / "results.json").test_accuracy
        assert min(value or 0.0 for value in accuracy) > 0.8

    def test_with_a_base_checkpoint_too(self, run: Path, tmp_path: Path) -> None:
        base = f"--model.base_checkpoint={run / 'checkpoints' / 'experience=0000.ckpt'}"
        again = fit(tmp_path, "again", "--model.strategy=trial_strategies.ClassMeans", base)
        state, first = weights_of(again), weights_of(run)
        assert torch.equal(state["strategy.counts"], first["strategy.counts"])
        torch.testing.assert_close(state["strategy.sums"], first["strategy.sums"])

    def test_buffers_that_were_registered_empty_come_back_from_a_checkpoint(self, run: Path, tmp_path: Path) -> None:
        part = tmp_path / "means"
        shutil.copytree(run, part)
        rewind(part, 2)
        options = ["--model.strategy=trial_strategies.ClassMeans", "--trainer.max_epochs=2", "--keep_checkpoints=all"]
        assert start(tmp_path, "means", *options, "--model.base_epochs=3", "--ckpt_path=last") == 0
        state, whole = weights_of(part), weights_of(run)
        assert torch.equal(state["strategy.sums"], whole["strategy.sums"])
        assert torch.equal(state["strategy.counts"], whole["strategy.counts"])


class TestHooks:
    @pytest.fixture(scope="class")
    def run(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        options = ["--model.strategy=trial_strategies.Witness", "--data.batch_size=7"]
        return fit(tmp_path_factory.mktemp("hooks"), "witness", *options)

    def test_before_and_after_each_experience_the_base_too(self, run: Path) -> None:
        assert weights_of(run)["strategy.calls"].tolist() == [100, 200, 101, 201, 102, 202]

    def test_after_experience_is_given_its_data_in_the_streams_order(self, run: Path) -> None:
        wanted = np.concatenate([np.tile(experience.indices, 2) for experience in STREAM])
        assert weights_of(run)["strategy.order"].tolist() == wanted.tolist()
        assert weights_of(run)["strategy.evaluating"].tolist() == [True] * 3

    def test_before_experience_is_replayed_before_a_checkpoint_is_loaded(self, run: Path, tmp_path: Path) -> None:
        """A strategy that builds modules in it finds them when its state comes back."""
        options = ["--model.strategy=trial_strategies.Distances", "--keep_checkpoints=all"]
        whole = fit(tmp_path, "whole", *options)
        part = tmp_path / "part"
        shutil.copytree(whole, part)
        rewind(part, 2)
        assert start(tmp_path, "part", *options, "--ckpt_path=last") == 0
        assert torch.equal(weights_of(part)["network.head.weight"], weights_of(whole)["network.head.weight"])
        assert "strategy.teacher.head.weight" in weights_of(part)


def rewind(run: Path, done: int) -> None:
    """Put a run directory back to where ``done`` experiences are finished, as a kill in the next one leaves it."""
    results = read_results(run / "results.json")
    for values in (results.accuracy_matrix, results.test_accuracy, results.seen_accuracy, results.experiences):
        del values[done:]
    results.run.complete = False
    write_results(results, run / "results.json")
    (run / "checkpoints" / f"experience={done:04d}.ckpt").unlink()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--model.strategy=trial_strategies.OnlyJoint"],
            "OnlyJoint cannot learn in the scenario InstanceIncremental; it can in Joint.",
        ),
        (
            ["--model.base_strategy=trial_strategies.OnlyJoint"],
            "OnlyJoint cannot learn in the scenario InstanceIncremental",
        ),
        (
            ["--model.strategy=trial_strategies.TwoHeads", "--data.val_fraction=0"],
            "TwoHeads picks one of several variants on validation data",
        ),
        (
            ["--model.strategy=trial_strategies.ForgotUpdate"],
            "ForgotUpdate declares kind = 'closed_form' and has no update",
        ),
        (["--data.stream.base_fraction=0"], "there is nothing to start from. Give model.base_checkpoint"),
    ],
)
def test_a_run_that_cannot_work_is_refused_before_it_starts(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(tmp_path, "refused", *options) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("*/checkpoints/*"))


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ("SaysFrozen", "SaysFrozen declares freezes_backbone and trains backbone parameters"),
        ("NothingToTrain", "NothingToTrain.parameters_to_train returned nothing to train"),
    ],
)
def test_a_strategy_that_contradicts_itself(
    strategy: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(tmp_path, "wrong", "--data.stream=Joint", f"--model.strategy=trial_strategies.{strategy}") == 2
    assert said in capsys.readouterr().err


def test_variants_of_a_gradient_strategy_are_picked_on_validation_data(tmp_path: Path) -> None:
    run = fit(tmp_path, "two-heads", "--model.strategy=trial_strategies.TwoHeads", "--trainer.max_epochs=4")
    results = read_results(run / "results.json")
    assert list(results.variants) == ["upside down", "as it is"]
    assert results.picked_variant == [None, "as it is", "as it is"]
    assert results.test_accuracy == results.variants["as it is"].test_accuracy
    with np.load(run / "predictions.npz") as file:
        assert file["predicted"].shape == file["predicted/as it is"].shape == (3, len(file["index"]))
        assert (file["predicted"][-1] == file["predicted/as it is"][-1]).all()


@pytest.mark.parametrize("training", [True, False])
def test_frozen_modules_are_in_evaluation_mode_and_the_others_in_the_mode_asked_for(training: bool) -> None:
    backbone = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), nn.Linear(2, 2), nn.Dropout())
    network = nn.ModuleDict({"backbone": backbone, "head": nn.Sequential(nn.Dropout(), nn.Linear(2, 2))})
    cases: list[list[nn.Module]] = [[], [backbone[0]], [backbone], [network]]
    for frozen in cases:
        network.requires_grad_(True)
        for module in frozen:
            module.requires_grad_(False)
        still = {id(part) for module in frozen for part in module.modules()}
        for before in (True, False):
            network.train(before)
            set_modes(network, training)
            assert all(part.training == (training and id(part) not in still) for part in network.modules())


def test_batch_norm_keeps_its_statistics_where_that_is_asked_for() -> None:
    backbone, head = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)), nn.Dropout()
    network = nn.ModuleDict({"backbone": backbone, "head": head})
    for keeps in (True, False, True):
        set_modes(network, True, keeps)
        assert network.training and head.training and backbone[0].training and backbone[1].training is not keeps


def test_modules_that_have_their_mode_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting it for each module of a backbone, several times in an epoch, takes longer than a head's step."""
    network = nn.ModuleDict({"backbone": nn.Linear(2, 2), "head": nn.Linear(2, 2)}).train()
    network["backbone"].requires_grad_(False).eval()
    monkeypatch.setattr(nn.Linear, "train", lambda *_: pytest.fail("the mode is set again"))
    set_modes(network, True)
