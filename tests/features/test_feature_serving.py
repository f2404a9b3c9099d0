"""Each image passes a frozen backbone once: in all epochs, experiences, evaluations, strategies and seeds of a base."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from coloured_squares import ColouredSquares
from command_line import fit, start, weights_of
from full_disk import small_files_only
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torchvision.transforms import v2

from lightning_vision import Batch, Network, Strategy
from lightning_vision.array_types import Rows
from lightning_vision.features.feature_store import FeatureTable
from lightning_vision.images.transform_identity import fingerprint, same_transform
from lightning_vision.learning.checkpoints import read_checkpoint
from lightning_vision.learning.recipe import Moment, Recipe
from lightning_vision.results.schema import Features, Results, read_results
from lightning_vision.storage import cache_folder as caches

IMAGES = len(ColouredSquares().samples)


class NeedsImages(Strategy):
    """A frozen backbone, and a loss that looks at the images."""

    freezes_backbone = True
    needs_images = True

    def loss(self, network: Network, batch: Batch) -> Tensor:
        if "image" not in batch:
            raise TypeError("Expected images.")
        return super().loss(network, batch)


class ReadsTheBatch(Strategy):
    """A head that is trained on images or features."""

    freezes_backbone = True
    memory_batch_size = 4

    def memory(self) -> Tensor:
        return torch.tensor([0, 1, 2, 3])

    def loss(self, network: Network, batch: Batch) -> Tensor:
        past = batch["memory"]
        return self.cross_entropy(network, network(batch), batch) + self.cross_entropy(network, network(past), past)


class ReadsTheFormerKey(ReadsTheBatch):
    """As it was written before features had a key of their own."""

    def loss(self, network: Network, batch: Batch) -> Tensor:
        past = batch["memory"]
        new, old = network(batch["image"]), network(past["image"])
        return self.cross_entropy(network, new, batch) + self.cross_entropy(network, old, past)


class TrainsOnLaterImages(Recipe):
    """Puts images of the last experience in the place of some of an earlier one, without declaring needs_images."""

    def before_stage(self, moment: Moment) -> None:
        self._later = moment.datamodule.stream[-1].indices[:3]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.train_dataloader.batch_sampler.choose = self._choose  # type: ignore[union-attr]

    def _choose(self, rows: Rows, generator: np.random.Generator) -> Rows:
        return np.concatenate([self._later, rows[3:]])


class MovesTheBackbone(Strategy):
    """Declares what it does not keep to."""

    kind = "closed_form"
    freezes_backbone = True

    def update(self, network: Network, features: Tensor, labels: Tensor) -> None:
        next(network.backbone.parameters()).mul_(1.01)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that was trained without leaving any features behind."""
    run = fit(tmp_path_factory.mktemp("base"), "base", "--data.feature_cache_gb=0", "--model.strategy=FullFineTune")
    return run / "checkpoints" / "experience=0000.ckpt"


def after(base: Path, folder: Path, name: str, *options: str) -> tuple[Results, Features]:
    """A run from the base, with a cache of this folder's own."""
    given = (f"--model.base_checkpoint={base}", f"--data.cache_dir={folder / 'cache'}")
    results = read_results(fit(folder, name, *given, *options) / "results.json")
    assert results.features is not None
    return results, results.features


class TestOnePass:
    RUNS = (
        ("HeadOnly", "--data.views=0", "--trainer.max_epochs=10"),
        ("MoveToData", "--model.strategy.epsilon=[1e-4,1e-3,1e-2]"),
        ("NearestMean",),
        ("StreamingLDA",),
        ("RanPAC",),
        ("HeadOnly", "--data.views=0", "--seed_everything=1", "--trainer.max_epochs=2"),
    )

    @pytest.fixture(scope="class")
    def runs(self, base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Results, Features]]:
        folder = tmp_path_factory.mktemp("one-pass")
        return [
            after(base, folder, str(number), f"--model.strategy={name}", *options)
            for number, (name, *options) in enumerate(self.RUNS)
        ]

    def test_every_image_passes_the_backbone_once(self, runs: Sequence[tuple[Results, Features]]) -> None:
        assert sum(results.totals.backbone_images for results, _ in runs) == IMAGES
        assert sum(features.computed for _, features in runs) == IMAGES

    def test_the_first_run_computes_what_it_needs_and_the_others_only_what_it_did_not(
        self, runs: Sequence[tuple[Results, Features]]
    ) -> None:
        of_base = runs[0][0].experiences[0].train_samples
        assert [features.computed for _, features in runs] == [IMAGES - of_base, 0, of_base, 0, 0, 0]
        assert [features.reused for _, features in runs] == [
            0, IMAGES - of_base, IMAGES - of_base, IMAGES, IMAGES, IMAGES - of_base,
        ]  # fmt: skip
        assert all(features.cached and not features.reason and features.smallest_cosine is None for _, features in runs)
        assert runs[0][1].seconds > 0 == runs[0][1].saved_seconds
        assert runs[1][1].saved_seconds > 0 == runs[1][1].seconds

    def test_learning_and_evaluation_are_counted_where_they_were_needed_first(
        self, runs: Sequence[tuple[Results, Features]]
    ) -> None:
        first = runs[0][0].experiences
        tests = sum(e.test_samples for e in first)
        assert [e.evaluation.backbone_images for e in first] == [first[0].val_samples + tests, 0, 0]
        assert [e.backbone_images for e in first] == [0, *(e.train_samples + e.val_samples for e in first[1:])]


@pytest.mark.parametrize("strategy", ["HeadOnly", "MoveToData", "StreamingLDA"])
def test_the_long_way_gives_the_same(strategy: str, base: Path, tmp_path: Path) -> None:
    options = (f"--model.strategy={strategy}", "--data.train_transforms=[resize]", "--data.eval_transforms=[resize]")
    short, features = after(base, tmp_path, "short", *options)
    long, images = after(base, tmp_path, "long", *options, "--data.feature_cache_gb=0")
    assert features.cached and not images.cached and images.reason == "data.feature_cache_gb is 0"
    assert long.totals.backbone_images > short.totals.backbone_images == features.computed
    mine, others = weights_of(tmp_path / "short"), weights_of(tmp_path / "long")
    for name, value in mine.items():
        torch.testing.assert_close(others[name], value, rtol=1e-3, atol=1e-4)  # a covariance is inverted
    one, two = (np.load(tmp_path / name / "predictions.npz") for name in ("short", "long"))
    assert np.array_equal(one["predicted"], two["predicted"])
    np.testing.assert_allclose(one["confidence"], two["confidence"], atol=1e-5)


def test_a_strategy_written_with_the_former_key_learns_the_same_and_warns(base: Path, tmp_path: Path) -> None:
    warned = {}
    for name in ("ReadsTheBatch", "ReadsTheFormerKey"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            options = (f"--model.strategy=test_feature_serving.{name}", "--data.views=0", "--trainer.max_epochs=3")
            _, features = after(base, tmp_path, name, *options)
        assert features.cached, "both are served features"
        warned[name] = [one for one in caught if "under the key 'features'" in str(one.message)]
    assert not warned["ReadsTheBatch"]
    assert {one.category for one in warned["ReadsTheFormerKey"]} == {DeprecationWarning}
    assert {Path(one.filename).name for one in warned["ReadsTheFormerKey"]} == {"test_feature_serving.py"}
    mine, former = (weights_of(tmp_path / name) for name in warned)
    assert all(torch.equal(former[name], value) for name, value in mine.items())
    assert not torch.equal(mine["network.head.weight"], read_checkpoint(base)["state_dict"]["network.head.weight"])


def test_views_are_drawn_once(base: Path, tmp_path: Path) -> None:
    options = ("--model.strategy=HeadOnly", "--data.views=3", "--trainer.max_epochs=6")
    results, features = after(base, tmp_path, "one", *options)
    increments = sum(e.train_samples for e in results.experiences[1:])
    evaluated = sum(e.val_samples + e.test_samples for e in results.experiences)
    assert features.computed == 3 * increments + evaluated
    assert sum(e.backbone_images for e in results.experiences) == 3 * increments + sum(
        e.val_samples for e in results.experiences[1:]
    )
    _, again = after(base, tmp_path, "two", *options, "--seed_everything=5")
    assert again.computed == 0, "the views are the data's, not the seed's"
    _, other = after(base, tmp_path, "other", "--model.strategy=HeadOnly", "--data.views=0")
    assert other.computed == increments
    plain, augmented = (weights_of(tmp_path / name)["network.head.weight"] for name in ("other", "one"))
    assert not torch.equal(plain, augmented)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--model.strategy=FullFineTune",), "the strategy trains the backbone"),
        (("--model.strategy=HeadOnly",), "each epoch augments them differently"),
        (("--model.strategy=HeadOnly", "--data.views=0", "--data.batch_transforms=[{MixUp: {alpha: 0.4}}]"), "data.batch_transforms"),
        (("--model.strategy=MoveToData", "--data.annotations=true"), "data.annotations"),
        (("--model.strategy=MoveToData", "--trainer.precision=64-true"), "trainer.precision is 64-true"),
        (("--model.strategy=MoveToData", "--data.feature_cache_gb=1e-5"), "do not fit into data.feature_cache_gb=1e-05"),
        (("--model.strategy=test_feature_serving.NeedsImages", "--data.views=0"), "the strategy needs the images themselves"),
    ],
    ids=["full", "augmented", "mixed", "annotated", "double", "small", "asks"],
)  # fmt: skip
def test_the_long_way_is_said_with_its_reason(
    options: Sequence[str], reason: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, features = after(base, tmp_path, "run", *options)
    said = capsys.readouterr()
    assert not features.cached and reason in features.reason
    assert "pass through the backbone in every epoch, because" in said.out + said.err and reason in " ".join(
        (said.out + said.err).split()
    )


def test_validation_and_test_are_kept_where_only_training_needs_images(base: Path, tmp_path: Path) -> None:
    results, features = after(base, tmp_path, "run", "--model.strategy=HeadOnly", "--trainer.max_epochs=3")
    assert features.computed == sum(e.val_samples + e.test_samples for e in results.experiences)
    assert [e.backbone_images for e in results.experiences[1:]] == [
        3 * e.train_samples + e.val_samples for e in results.experiences[1:]
    ]


def test_a_base_with_a_frozen_backbone_shares_its_features(tmp_path: Path) -> None:
    options = (
        "--model.strategy=NearestMean",
        "--model.base_strategy=HeadOnly",
        "--data.views=0",
        "--seed_everything=3",
    )
    run = fit(tmp_path, "run", *options, f"--data.cache_dir={tmp_path / 'cache'}")
    results = read_results(run / "results.json")
    assert results.features is not None and results.features.computed == IMAGES == results.totals.backbone_images


def test_a_disk_that_fills_up_costs_the_features_and_not_the_run(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is that of a file; it is on while features are written, so that checkpoints are not met by it."""
    write = FeatureTable.write

    def on_a_full_disk(self: FeatureTable, rows: Rows, values: npt.NDArray[np.float32]) -> None:
        with small_files_only(3 * self.row.itemsize):
            write(self, rows, values)

    monkeypatch.setattr(FeatureTable, "write", on_a_full_disk)
    results, features = after(base, tmp_path, "run", "--model.strategy=MoveToData")
    assert results.run.complete and not features.cached and "they cannot be stored in" in features.reason
    assert "From now on images pass through the backbone in every epoch" in "".join(capsys.readouterr())
    monkeypatch.undo()
    whole, found = after(base, tmp_path, "again", "--model.strategy=MoveToData")
    assert found.cached and found.computed + found.reused == 67
    assert whole.test_accuracy == results.test_accuracy


def test_a_disk_that_is_too_full_for_the_measurements_costs_nothing_but_them(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pace of a pass and the way that was measured, each of which is written when features are there already."""
    keep = caches.keep

    def on_a_full_disk(what: str, path: Path, write: Callable[[], None]) -> None:
        with small_files_only(2):
            keep(what, path, write)

    monkeypatch.setattr("lightning_vision.features.feature_pass.WORTH_TUNING_SECONDS", 0.0)
    monkeypatch.setattr("lightning_vision.features.fastest_way.CLOSE", np.inf)  # rounds that disagree are not kept
    monkeypatch.setattr("lightning_vision.features.feature_pass.TUNING_SHARE", np.inf)  # of a pass that is short
    monkeypatch.setattr("lightning_vision.features.feature_cache.AT_ONCE", 1)  # of the few images that there are
    for module in ("feature_pass", "feature_store"):
        monkeypatch.setattr(f"lightning_vision.features.{module}.keep", on_a_full_disk)
    _, features = after(base, tmp_path, "run", "--model.strategy=MoveToData")
    assert features.cached and features.computed == 67
    said = capsys.readouterr().err
    assert (
        "Measurements of this machine cannot be stored in" in said
        and "how long features take cannot be stored in" in said
    )
    assert not list(tmp_path.rglob("feature_pass.json")) and not list(tmp_path.rglob("pace.txt"))


def test_rows_that_were_never_computed_are_never_served(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As zeros, which is what a file's hole reads as."""
    options = (f"--model.base_checkpoint={base}", "--model.strategy=HeadOnly", "--data.views=0")
    assert start(tmp_path, "run", *options, "--trainer.callbacks=test_feature_serving.TrainsOnLaterImages") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "The features of 3 images were requested and never computed" in said
    assert "must declare needs_images" in said and "data.feature_cache_gb=0" in said


def test_features_of_another_backbone_are_never_served(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--model.strategy=test_feature_serving.MovesTheBackbone", f"--model.base_checkpoint={base}")
    assert start(tmp_path, "run", *options, "--data.batch_size=4") == 1
    assert "declares freezes_backbone must not change its weights" in " ".join(capsys.readouterr().err.split())


class TestFingerprint:
    def test_it_tells_transforms_apart_that_look_alike(self) -> None:
        class Shift(nn.Module):
            def __init__(self, by: int) -> None:
                super().__init__()
                self.by = by

            def forward(self, image: Tensor) -> Tensor:
                return (image.int() + self.by).to(torch.uint8)

        one, other = v2.Compose([Shift(1)]), v2.Compose([Shift(2)])
        assert repr(one) == repr(other) and fingerprint(one, 0) != fingerprint(other, 0)
        assert fingerprint(one, 0) == fingerprint(v2.Compose([Shift(1)]), 0)

    def test_a_random_transform_is_no_evaluation_transform(self) -> None:
        resized, cropped = v2.Compose([v2.Resize([32, 32])]), v2.Compose([v2.RandomResizedCrop(32)])
        assert same_transform(resized, v2.Compose([v2.Resize([32, 32])]))
        assert not same_transform(cropped, v2.Compose([v2.RandomResizedCrop(32)]))
        assert not same_transform(resized, cropped)
