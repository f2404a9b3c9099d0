"""A class folder whose name is no UTF-8, as unzip leaves the names of Windows archives: from the folder to every file written."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import QUICK
from photo_folder import write_photos

from datamodules import ImageFolder
from lightning_vision.cli import main
from lightning_vision.data.sample_table import check_samples, spell_names
from lightning_vision.errors import DataError
from lightning_vision.results.schema import read_results
from lightning_vision.terminal.wording import printable, spelt

NAME, FILE, SPELT = os.fsdecode(b"caf\xe9"), os.fsdecode(b"\xff.jpg"), "caf\\udce9"
PHOTOS = (*QUICK, "--data=ImageFolder", "--data.image_size=32", "--data.num_workers=0")
ORDER = f"""
data:
  class_path: ImageFolder
  init_args: {{stream: {{class_path: ClassIncremental, init_args: {{experiences: 2, class_order: ['{SPELT}', birds, dogs]}}}}}}
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_photos(tmp_path_factory.mktemp("photos"), per_class=8)
    try:
        (root / "cats").rename(root / NAME)
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    (root / NAME / "0001.jpg").rename(root / NAME / FILE)
    return root


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that stopped after its base, logged by W&B too, and was resumed."""
    root = tmp_path_factory.mktemp("runs")
    (root / "order.yaml").write_text(ORDER)
    words = ["fit", *PHOTOS, f"--config={root / 'order.yaml'}", f"--data.root={photos}", "--run_name=run"]
    words.append(f"--trainer.default_root_dir={root}")
    assert main([*words, "--wandb.mode=offline", "--stop_after=0"]) == 0
    assert main([*words, "--wandb.mode=offline", "--ckpt_path=last"]) == 0
    return root / "run"


def texts(folder: Path) -> dict[str, str]:
    """The text files below a folder; one that is no UTF-8 is an error."""
    kinds = {".csv", ".html", ".json", ".md", ".yaml"}
    return {path.name: path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.suffix in kinds}


def test_results(run: Path) -> None:
    results = read_results(run / "results.json")
    assert results.run.complete and results.class_names == ["birds", SPELT, "dogs"]
    assert results.experiences[0].name == f"{SPELT}, birds"
    assert results.test.per_class[SPELT]["support"] > 0


def test_what_is_done_with_the_run(run: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["test"], ["predict"], ["export", "--format=onnx"]):
        assert main([*words, f"--ckpt_path={run}"]) == 0, words
    assert main(["report", str(run)]) == 0
    assert pd.read_csv(run / "confusion_matrix.csv", index_col=0).columns.tolist() == ["birds", SPELT, "dogs"]
    assert (run / "confusion_matrix.png").is_file()
    table = pd.read_csv(run / "predictions.csv", keep_default_na=False)
    assert f"probability/{SPELT}" in table.columns
    assert {path.split("/")[0] for path in table["path"]} == set(table["true"]) == {"birds", SPELT, "dogs"}
    for name in ("report.html", "run.onnx.md", "results.json"):
        assert SPELT in texts(run)[name].replace("\\\\", "\\"), name
    capsys.readouterr()
    model = next(run.rglob("*.onnx"))
    assert main(["predict", "--model", str(model), str(photos), "--output", str(run / "deployed")]) == 0
    assert "on 24 images in folders named after a class" in capsys.readouterr().out, "the folder is matched by name"


def test_the_data_page(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "data.html"
    words = ["--data=ImageFolder", f"--data.root={photos}", "--data.num_workers=0", f"--output={page}"]
    assert main(["data", *words]) == 0
    assert SPELT in page.read_text(encoding="utf-8") and SPELT in capsys.readouterr().out


def test_new_images_are_matched_with_a_base(run: Path, photos: Path, tmp_path: Path) -> None:
    """By the name as it is spelt; the classes of the base are in another order than a folder's would be."""
    stream = ("--data.stream.base_fraction=0", "--data.stream.experiences=1", "--model.strategy=MoveToData")
    more = (f"--data.root={photos}", f"--model.base_checkpoint={run}", f"--trainer.default_root_dir={tmp_path}")
    assert main(["fit", *PHOTOS, *stream, *more, "--run_name=new"]) == 0
    assert read_results(tmp_path / "new" / "results.json").class_names == ["birds", SPELT, "dogs"]


def test_files_are_opened_by_their_bytes(photos: Path) -> None:
    data = ImageFolder(photos, image_size=32, num_workers=0)
    assert data.class_names == ["birds", SPELT, "dogs"]
    row = next(row for row, path in enumerate(data.samples["path"]) if path == f"{NAME}/{FILE}")
    assert data.image(row).shape == (3, 40, 40)


def test_an_option_that_is_no_utf8_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", f"--data.root=/photos/{NAME}"]) == 2
    assert f"Expected options in UTF-8, found other bytes in --data.root=/photos/{SPELT}" in capsys.readouterr().err


def test_one_spelling() -> None:
    """What a table shows, what is kept and what an error handler writes are the same; other texts stay."""
    assert spelt(NAME) == printable(NAME) == printable(spelt(NAME)) == SPELT
    assert [spelt(name) for name in ("dögs", "犬", "a\\b", "a\nb")] == ["dögs", "犬", "a\\b", "a\nb"]


def test_columns_of_names_are_spelt_and_those_of_files_are_not() -> None:
    with pd.option_context("mode.string_storage", "python"):  # as datamodules are read
        table = pd.DataFrame({"path": [NAME, "b"], "label": [0, 1], "split": "", "domain": [NAME, None], "n": [1, 2]})
    samples, names = spell_names(table, [NAME, "b"])
    assert names == [SPELT, "b"] and samples["path"].tolist() == [NAME, "b"]
    assert samples["domain"].dropna().tolist() == [SPELT] and samples["n"].dtype == np.int64
    assert table["domain"].dropna().tolist() == [NAME], "the table that was given stays"


def test_two_names_that_are_spelt_alike_are_refused() -> None:
    table = pd.DataFrame({"path": ["a", "b"], "label": [0, 1], "split": ""})
    samples, names = spell_names(table, [NAME, SPELT])
    with pytest.raises(DataError, match=r"the class name 'caf\\\\udce9' occurs twice"):
        check_samples(samples, names)
