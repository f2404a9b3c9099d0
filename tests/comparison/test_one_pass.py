"""In a comparison each image passes a frozen backbone once: for all bases, their level of chance, evaluations and seeds."""

import os
from pathlib import Path

import pytest
import torch
from coloured_squares import ColouredSquares
from small_comparison import OFF, results_of, words, write_config

from lightning_vision.cli import main
from lightning_vision.learning.backbones import build_backbone
from lightning_vision.learning.network import Network
from lightning_vision.results.schema import Results

IMAGES = len(ColouredSquares().samples)
FROZEN = ("--model.base_strategy=HeadOnly", "--data.views=0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_config(tmp_path_factory.mktemp("one-pass"))
    torch.manual_seed(0)
    backbone, _ = build_backbone("test_resnet", pretrained=False, image_size=32)
    torch.save(backbone.state_dict(), folder / "backbone.pt")
    return folder


def compared(folder: Path, name: str, *more: str) -> tuple[list[Results], list[Results]]:
    """The bases and the cells of a comparison with a cache of its own."""
    assert main(words(folder, name, f"--data.cache_dir={folder / name}-cache", OFF, *more)) == 0
    return list(results_of(folder / name, "bases").values()), list(results_of(folder / name).values())


def passed(runs: list[Results]) -> int:
    return sum(run.totals.backbone_images for run in runs)


class TestEqualWeights:
    @pytest.fixture(scope="class")
    def runs(self, folder: Path) -> tuple[list[Results], list[Results]]:
        strategies = ("--strategies", "HeadOnly", "MoveToData", "NearestMean")
        weights = f"--model.backbone_weights={folder / 'backbone.pt'}"
        return compared(folder, "equal", *strategies, "--seeds", "0", "1", *FROZEN, weights)

    def test_every_image_passes_once(self, runs: tuple[list[Results], list[Results]]) -> None:
        bases, cells = runs
        assert len(bases) == 2 and len(cells) == 6
        assert passed(bases) + passed(cells) == IMAGES
        features = [run.features for run in (*bases, *cells) if run.features is not None]
        assert len(features) == 8 and sum(each.computed for each in features) == IMAGES

    def test_the_first_base_computes_all_that_it_needs_for_chance_training_and_evaluation(
        self, runs: tuple[list[Results], list[Results]]
    ) -> None:
        first, other = runs[0]
        base = first.experiences[0]
        tests = base.evaluation.images - base.val_samples
        assert first.features is not None and first.features.reused == 0
        assert base.backbone_images == base.train_samples + base.val_samples
        assert base.evaluation.backbone_images == tests
        assert first.totals.backbone_images == first.features.computed == base.train_samples + base.val_samples + tests
        assert other.experiences[0].evaluation.backbone_images == 0
        assert other.experiences[0].backbone_images < base.train_samples, (
            "its stream has other images in the base, and some of the same"
        )

    def test_in_two_processes_too_and_with_the_same_results(
        self, folder: Path, runs: tuple[list[Results], list[Results]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Those that need the same images at the same time share the work."""
        monkeypatch.setenv(
            "PYTHONPATH", os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
        )
        strategies = ("--strategies", "HeadOnly", "MoveToData", "NearestMean")
        weights = f"--model.backbone_weights={folder / 'backbone.pt'}"
        two = compared(
            folder, "two", *strategies, "--seeds", "0", "1", *FROZEN, weights, "--executor", "local", "--workers", "2"
        )
        every = [run for kind in two for run in kind]
        assert passed(every) == IMAGES
        assert sum(run.features.computed for run in every if run.features is not None) == IMAGES
        for one, other in zip([run for kind in runs for run in kind], every, strict=True):
            assert (one.run.name, one.accuracy_matrix, one.test) == (other.run.name, other.accuracy_matrix, other.test)


def test_a_backbone_that_is_drawn_by_the_seed_sees_each_image_once_a_seed(folder: Path) -> None:
    runs = compared(folder, "drawn", "--strategies", "HeadOnly", "NearestMean", "--seeds", "0", "1", *FROZEN)
    assert passed(runs[0]) + passed(runs[1]) == 2 * IMAGES


def test_a_trained_base_is_evaluated_once_for_all_cells(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retrain among them, which starts from it; what trains a backbone, and what is seen on the way, is not cached."""
    seen: list[int] = []
    features = Network.features

    def counting(self: Network, given: object) -> torch.Tensor:
        before = self.backbone_images
        found = features(self, given)  # type: ignore[arg-type] # whatever it was given
        seen.append(self.backbone_images - before)
        return found

    monkeypatch.setattr(Network, "features", counting)
    strategies = ("--strategies", "MoveToData", "NearestMean", "FullFineTune")
    bases, cells = compared(folder, "trained", *strategies, "--seeds", "0")
    base = bases[0].experiences[0]
    tests = base.evaluation.images - base.val_samples
    assert base.evaluation.backbone_images == 2 * tests + base.val_samples, "before training, and after it"
    for cell in cells:
        assert cell.experiences[0].evaluation.backbone_images == 0, cell.run.name
    full = next(cell for cell in cells if "FineTune" in cell.run.name)
    assert [each.evaluation.backbone_images for each in full.experiences[1:]] == [
        each.evaluation.images for each in full.experiences[1:]
    ]
    assert full.features is not None and not full.features.cached and full.features.computed == 0
    assert full.features.reused == tests + base.val_samples
    computed = sum(run.features.computed for run in (*bases, *cells) if run.features is not None)
    counted = len(bases) + len(cells)  # the multiply-adds of a black image, once a run
    assert sum(seen) + computed - counted == passed(bases) + passed(cells), (
        "the records count what went through the network"
    )
