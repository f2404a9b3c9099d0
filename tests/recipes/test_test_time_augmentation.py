"""TestTimeAugmentation: which views, what mean, and that every prediction is made of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from coloured_squares import COLOURS, ColouredSquares
from command_line import fit
from torch import Tensor

from lightning_vision import recipes
from lightning_vision.cli import main
from lightning_vision.data.batch import Batch
from lightning_vision.errors import ConfigError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.recipes.test_time_augmentation import mean_logits, mean_probabilities, views_of
from lightning_vision.results.schema import read_results


def numbered(side: int) -> Tensor:
    """(1, 1, side, side): each pixel has its number."""
    return torch.arange(side * side).reshape(1, 1, side, side)


# ---- by hand ---------------------------------------------------------------------------------------------------------


def test_flips_are_the_image_and_its_mirror_image() -> None:
    plain, mirrored = views_of(numbered(2), "flips", 2)
    assert plain.tolist() == [[[[0, 1], [2, 3]]]] and mirrored.tolist() == [[[[1, 0], [3, 2]]]]


def test_crops_are_the_corners_and_the_centre() -> None:
    crops = [view.flatten().tolist() for view in views_of(numbered(4), "five_crop", 2)]
    assert crops == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15], [5, 6, 9, 10]]


def test_ten_crops_are_five_and_their_mirror_images() -> None:
    five = {tuple(view.flatten().tolist()) for view in views_of(numbered(4), "five_crop", 2)}
    ten = {tuple(view.flatten().tolist()) for view in views_of(numbered(4), "ten_crop", 2)}
    assert ten == five | {(b, a, d, c) for a, b, c, d in five} and len(ten) == 10


def test_the_means() -> None:
    first = torch.tensor([[0.0, 0.0, -torch.inf]])
    second = torch.tensor([[np.log(3.0), 0.0, -torch.inf]], dtype=torch.float32)
    # One half and one half; three quarters and one quarter.
    expected = torch.tensor([[np.log(0.625), np.log(0.375), -torch.inf]], dtype=torch.float32)
    torch.testing.assert_close(mean_probabilities([first, second]), expected)
    expected = torch.tensor([[np.log(3.0) / 2, 0.0, -torch.inf]], dtype=torch.float32)
    torch.testing.assert_close(mean_logits([first, second]), expected)
    sure = mean_probabilities([torch.tensor([[0.0, 200.0]]), torch.tensor([[0.0, 200.0]])])
    torch.testing.assert_close(
        sure, torch.tensor([[-200.0, 0.0]])
    )  # as a probability it would be 0, and its loss infinite


# ---- in a classifier -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data() -> ColouredSquares:
    return ColouredSquares(per_class=8, image_size=32, eval_transforms="center_crop")


@pytest.mark.parametrize("mean", ["logits", "probabilities"])
@pytest.mark.parametrize(("views", "count", "side"), [("flips", 2, 32), ("five_crop", 5, 36), ("ten_crop", 10, 36)])
def test_a_prediction_is_the_mean_of_those_of_the_views(
    views: str, count: int, side: int, mean: str, data: ColouredSquares
) -> None:
    model = ContinualClassifier("test_resnet", pretrained=False, class_names=list(COLOURS), image_size=32).eval()
    model.network.see([0, 1, 2])
    plain = next(iter(data.evaluation_loader("test")))
    recipes.TestTimeAugmentation(views, mean).before_run(model, data)  # type: ignore[arg-type] # of the parameters
    batch: Batch = next(iter(data.evaluation_loader("test")))
    assert batch["image"].shape[-1] == side and batch["index"].tolist() == plain["index"].tolist()
    batch = model.on_after_batch_transfer(batch, 0)
    with torch.no_grad():
        found = model.predict_logits(batch)
        each = [model.network(view) for view in views_of(batch["image"], views, 32)]
        centre = model.network(model.network.normalise(plain["image"]))
    assert isinstance(found, Tensor) and len(each) == count
    torch.testing.assert_close(each[0 if views == "flips" else 4], centre, rtol=1e-4, atol=1e-5)
    if mean == "logits":
        torch.testing.assert_close(found, torch.stack(each).mean(dim=0))
    else:
        expected = torch.stack([logits[:, :3].softmax(dim=1) for logits in each]).mean(dim=0)
        torch.testing.assert_close(found.softmax(dim=1)[:, :3], expected)
        assert (found[:, 3] == -torch.inf).all()
    data.test_transform = None


def test_variants_are_averaged_each() -> None:
    model = ContinualClassifier("test_resnet", pretrained=False, class_names=list(COLOURS), image_size=32)
    model.network.see(range(4))
    recipes.TestTimeAugmentation("flips", "logits").before_run(model, ColouredSquares(per_class=4, image_size=32))
    image = torch.rand(2, 3, 32, 32)
    assert model.augmented_prediction is not None
    found = model.augmented_prediction(lambda view: {"a": view[:, :, 0, 0], "b": 2 * view[:, :, 0, 0]}, image)
    assert isinstance(found, dict) and found.keys() == {"a", "b"}
    expected = (image[:, :, 0, 0] + image[:, :, 0, -1]) / 2
    torch.testing.assert_close(found["a"], expected)
    torch.testing.assert_close(found["b"], 2 * expected)


def test_a_run_and_its_checkpoint_are_evaluated_by_views(tmp_path: Path) -> None:
    """A closed form with a sweep too, whose features are then not kept."""
    recipe = "{class_path: lightning_vision.recipes.TestTimeAugmentation, init_args: {views: five_crop}}"
    options = ("--data.image_size=32", "--data.noise=120", "--data.stream.experiences=2", "--model.strategy=MoveToData")
    swept = (*options, "--model.strategy.epsilon=[0.001,0.1]", f"--trainer.callbacks=[{recipe}]")
    run = fit(tmp_path, "views", *swept)
    before = read_results(run / "results.json")
    assert before.features is not None and "in several views" in before.features.reason
    words = (run / "config.yaml", "--ckpt_path", run, "--wandb.mode=disabled")
    assert main(["test", "--config", *map(str, words)]) == 0
    after = read_results(run / "results.json")
    assert after.test == before.test and after.variants == before.variants


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": "six_crop"}, "views: expected one of flips, five_crop, ten_crop, found 'six_crop'"),
        ({"mean": "median"}, "mean: expected one of logits, probabilities, found 'median'"),
    ],
)
def test_unknown_options_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=f"TestTimeAugmentation.{message}"):
        recipes.TestTimeAugmentation(**options)  # type: ignore[arg-type] # that is the point
