"""``explain`` on a run: figures, galleries and the page, and the checkpoint's errors before and after."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import checkpoint_of, fit
from PIL import Image
from textured_objects import CHANCE, NAMES, TexturedObjects, write_textured
from wandb_offline import offline_runs, read_offline_run

from lightning_vision.cli import main
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.scenarios import InstanceIncremental
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.explanation.command import ExplainOptions, explain
from lightning_vision.explanation.maps import class_maps
from lightning_vision.explanation.measuring import why_no_annotations
from lightning_vision.explanation.scores import box_cover, share_inside
from lightning_vision.learning.checkpoints import find_checkpoint, read_checkpoint
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.earlier_checkpoints import as_it_was
from lightning_vision.learning.loaded_checkpoint import LoadedCheckpoint
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy
from lightning_vision.learning.trainer_factory import TrainerFactory

SECTIONS = ["most-confident-errors", "confused-pairs", "classes", "correct", "before-after"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_textured(tmp_path_factory.mktemp("data") / "textured", 96, saliency=True)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose last checkpoint has its classes exchanged: what was right before is wrong."""
    made = fit(
        tmp_path_factory.mktemp("runs"), "run", "--data=textured_objects.TexturedObjects", f"--data.root={data}",
        "--data.stream.experiences=2", "--trainer.max_epochs=2", "--keep_checkpoints=all",
    )  # fmt: skip
    checkpoint = checkpoint_of(made, 0)
    state = checkpoint["state_dict"]
    for name in ("network.head.weight", "network.head.bias"):
        state[name] = state[name].roll(1, 0)
    checkpoint["lightning_vision"]["experience"] = 1
    torch.save(checkpoint, made / "checkpoints" / "experience=0001.ckpt")
    return made


def loaded(run: Path, data: Path) -> LoadedCheckpoint:
    """What the program gives to a subcommand."""
    datamodule = TexturedObjects(str(data), stream=InstanceIncremental(experiences=2))
    torch.manual_seed(5)
    model = ContinualClassifier(backbone="test_resnet", pretrained=False, class_names=NAMES, image_size=64)
    path = find_checkpoint(run)
    checkpoint = read_checkpoint(path)
    for experience in datamodule.stream:
        model.begin_experience(experience)
    model.load_state_dict(checkpoint["state_dict"])
    trainers = TrainerFactory(lambda: {"accelerator": "cpu", "devices": 1}, run, [])
    return LoadedCheckpoint(model, datamodule, trainers, path, 1)


def call(run: Path, data: Path, **options: Any) -> tuple[ContinualClassifier, StreamDataModule]:
    given = loaded(run, data)
    explain(given, ExplainOptions(**options))
    return given.model, given.datamodule


@pytest.fixture(scope="module")
def explained(run: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run with everything beside it, and what was said."""
    copied = shutil.copytree(run, tmp_path_factory.mktemp("explained") / "run")
    (copied / "explain").mkdir()
    (copied / "explain" / "mine.png").write_bytes(b"left alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        found = explain(loaded(copied, data), ExplainOptions(method="LayerCAM", measured=20, log_galleries=True))
    assert found.galleries == {name: copied / "explain" / f"{name}.png" for name in SECTIONS} and found.page.is_file()
    assert list(found.figures) == SECTIONS and found.figures["correct"].axes
    assert found.measured is not None and len(found.measured) == 20 and found.scores is not None
    return copied, "\n".join(found.lines)


def test_what_is_written_and_said(explained: tuple[Path, str]) -> None:
    run, said = explained
    folder = run / "explain"
    assert (folder / "mine.png").read_bytes() == b"left alone"
    for name in SECTIONS:
        with Image.open(folder / f"{name}.png") as image:
            assert image.width > 300 and image.height > 200
    assert "LayerCAM of layer4 (2 x 2 positions), for 24 images of the test set." in said
    assert "From experience 0 to 1: " in said and "changed from correct to wrong" in said
    assert "Maps of all predictions: 20 images" in said and "pointing game" in said
    assert "5 PNG galleries" in said and str(folder / "explain.html") in said


@torch.no_grad()
def test_the_figures_are_those_of_the_maps(explained: tuple[Path, str], data: Path) -> None:
    run, _ = explained
    table, scores = pd.read_csv(run / "explain" / "maps.csv"), pd.read_csv(run / "explain" / "scores.csv")
    assert len(table) == 20 and table["label"].value_counts().tolist() == [7, 7, 6]
    given = loaded(run, data)
    model, datamodule = given.model, given.datamodule
    model.eval()
    for row in table.head(5).to_dict("records"):
        image = datamodule.preview(row["row"])[None]
        probability = model(image).softmax(dim=1)[0]
        assert row["path"] == datamodule.samples["path"].iloc[row["row"]]
        assert row["predicted"] == int(probability.argmax()) and row["correct"] == (row["predicted"] == row["label"])
        assert row["confidence"] == pytest.approx(float(probability.max()), abs=1e-5)
        heat = class_maps(model, image, torch.tensor([row["predicted"]]), "LayerCAM")
        box = torch.from_numpy(np.array([datamodule.samples["box_xyxy"].iloc[row["row"]]]))
        assert row["box_share"] == pytest.approx(float(share_inside(heat, box_cover(box, 64, 64))), abs=1e-4)
        assert row["saliency_share"] == pytest.approx(row["box_share"], abs=1e-4), "these saliency maps are the boxes"
        assert row["box_area"] == pytest.approx(CHANCE) and row["saliency_mean"] == pytest.approx(CHANCE)
        shown = model.network.normalise(image) * heat[:, None]
        kept = float(model(shown).softmax(dim=1)[0, row["predicted"]])
        assert row["drop"] == pytest.approx(max(0, row["confidence"] - kept) / row["confidence"], abs=1e-4)
        assert row["increase"] == (kept > row["confidence"])
    overall = scores[scores["class"].isna()].set_index("answers")
    assert overall.loc["all", "images"] == 20 == overall.loc[["right", "wrong"], "images"].sum()
    assert overall.loc["all", "box_share"] == pytest.approx(table["box_share"].mean())
    assert overall.loc["wrong", "drop"] == pytest.approx(table.loc[~table["correct"], "drop"].mean())
    assert scores["class"].dropna().unique().tolist() == NAMES


def test_the_galleries_go_to_wandb(explained: tuple[Path, str]) -> None:
    run, said = explained
    (file,) = offline_runs(run / "explain")
    sent = read_offline_run(file)
    assert sent.name == "run-explain" and sent.job_type == "explain" and sent.ended
    assert {f"explain/{name}" for name in SECTIONS} <= {key for row in sent.history for key in row}
    assert any("explain/box_share" in row for row in sent.history)
    assert "W&B: the galleries are in" in said


def test_the_page_needs_nothing_else(explained: tuple[Path, str]) -> None:
    page = (explained[0] / "explain" / "explain.html").read_text(encoding="utf-8")
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert "<main" in page and page.count("<img") == page.count('alt="') > 20
    for name in SECTIONS:
        assert f'<h2 id="{name}">' in page
    assert "stripes down classified as stripes across" in page or "classified as chessboard" in page
    assert "training, " in page and "before, for " in page and "area of the box" in page


@torch.no_grad()
def test_an_earlier_checkpoint_leaves_nothing_behind(run: Path, data: Path) -> None:
    given = loaded(run, data)
    model, datamodule, path = given.model, given.datamodule, given.path
    before = {name: value.clone() for name, value in model.state_dict().items()}
    image = datamodule.preview(0)[None]
    now = model.eval()(image)
    with as_it_was(model, path.with_name("experience=0000.ckpt"), datamodule.stream):
        then = model(image)
        assert model.experience is datamodule.stream[0]
    assert torch.allclose(then.roll(1, 1), now, atol=1e-6), "the later head is the earlier one, rolled"
    assert torch.equal(model(image), now) and model.experience is datamodule.stream[1]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Remembering(Strategy):
    """Has a buffer that is filled late, and one that is in no checkpoint."""

    shift: torch.Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", None)
        self.register_buffer("scratch", torch.ones(2), persistent=False)

    def predict(self, network: Network, features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = network.head(features)
        return logits if self.shift is None else logits + self.shift


@torch.no_grad()
def test_what_a_strategy_learned_since_is_set_aside(run: Path, data: Path, tmp_path: Path) -> None:
    given = loaded(run, data)
    model, datamodule = given.model, given.datamodule
    model.strategy = Remembering()
    model.experience = datamodule.stream[1]
    early = tmp_path / "experience=0001.ckpt"
    torch.save({"state_dict": model.state_dict(), "lightning_vision": model.identity()}, early)
    image = datamodule.preview(0)[None]
    then = model.eval()(image)
    model.strategy.shift = shift = torch.tensor([1.0, 2.0, 3.0])
    with as_it_was(model, early, datamodule.stream):
        assert torch.equal(model(image), then)
        assert isinstance(model.strategy.scratch, torch.Tensor)
    assert model.strategy.shift is shift and torch.equal(model(image), then + shift)


@pytest.mark.parametrize("split", ["val", "train"])
def test_other_parts_and_few_options(run: Path, data: Path, split: str, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    call(
        run,
        data,
        split=split,
        measured=0,
        neighbours=0,
        before_after=0,
        pairs=0,
        per_class=0,
        errors=2,
        correct=2,
        output=str(folder),
    )
    found = sorted(path.name for path in folder.iterdir())
    assert found == ["correct.png", "explain.html", "most-confident-errors.png"]
    page = (folder / "explain.html").read_text(encoding="utf-8")
    assert "training, " not in page and "Figures" not in page
    assert not (run / "explain").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "GradCAMM"}, r"method: there is no 'GradCAMM'\. Known methods, similar names first: GradCAM, "),
        ({"layer": "head"}, r"layer: the backbone ResNet has no layer 'head'"),
        ({"batch_size": 0}, r"batch_size: expected 1 or more, found 0"),
        ({"errors": -1}, r"errors: expected 0 or more, found -1"),
    ],
)
def test_options_that_cannot_be_used(run: Path, data: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call(run, data, **options)


def test_as_a_user_calls_it(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = (
        "--trust_run=true",  # its data is a class of the tests
        "--errors=1",
        "--pairs=0",
        "--per_class=0",
        "--correct=0",
        "--before_after=0",
        "--measured=6",
        "--neighbours=0",
    )
    assert main(["explain", f"--ckpt_path={run}", *few, f"--output={tmp_path / 'maps'}"]) == 0
    assert "Maps of all predictions: 6 images" in capsys.readouterr().out
    assert (tmp_path / "maps" / "explain.html").is_file()
    assert main(["explain", f"--ckpt_path={run}", "--trust_run", "--method=GradCan"]) == 2
    assert "there is no 'GradCan'. Known methods, similar names first: GradCAM" in capsys.readouterr().err


def test_an_output_that_is_a_file(run: Path, data: Path) -> None:
    with pytest.raises(ConfigError, match=r"output: cannot create the folder .*config\.yaml"):
        call(run, data, output=str(run / "config.yaml"))


def test_data_that_cannot_be_used(run: Path, data: Path, tmp_path: Path) -> None:
    given = loaded(run, data)
    bare = TexturedObjects(str(data), boxes=False, stream=InstanceIncremental(experiences=2))
    required = ExplainOptions(boxes="required")
    with pytest.raises(DataError, match=r"boxes=required: .* this data has neither boxes nor saliency maps.*box_xyxy"):
        explain(replace(given, datamodule=bare), required)
    cut = TexturedObjects(str(data), stream=InstanceIncremental(experiences=2))
    cut.crop_to_box = True
    assert why_no_annotations(cut) == "", "saliency maps are known inside the boxes"
    with pytest.raises(DataError, match="cropped to their boxes"):
        explain(replace(given, datamodule=cut), required)
    cut.prepared.samples = cut.samples.drop(columns="saliency")
    assert why_no_annotations(cut).startswith("images are cropped to their boxes, so every map lies inside")
    cut.box_context = 0.5
    assert why_no_annotations(cut) == ""
    without = TexturedObjects(str(data), val_fraction=0, stream=InstanceIncremental(experiences=2))
    with pytest.raises(DataError, match=r"There are no val images of the classes .* Set data\.val_fraction"):
        explain(replace(given, datamodule=without), ExplainOptions(split="val"))


def test_classes_that_were_not_seen_are_left_out(run: Path, data: Path, tmp_path: Path) -> None:
    given = loaded(run, data)
    given.model.network.seen[2] = False
    few = ExplainOptions(
        measured=0, neighbours=0, before_after=0, pairs=0, per_class=0, errors=1, correct=0, output=str(tmp_path)
    )
    shown = repr(explain(given, few))
    assert "for 16 images of the test set" in shown
    assert "Left out: 8 images of classes that this checkpoint has not seen." in shown
