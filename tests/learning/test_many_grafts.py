"""A run in which each experience adds a graft, of all kinds: it resumes, each checkpoint loads, and the last one is exported."""

from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import fit
from test_resume import check_equal

import lightning_vision as lv
from lightning_vision.exporting.classifier_module import ClassifierModule
from lightning_vision.exporting.tracing import trace
from lightning_vision.program.open_checkpoint import open_checkpoint
from lightning_vision.testing import snapshots

EXPERIENCES, KILLED = 7, 5
OPTIONS = (
    "--model.backbone=test_vit",
    "--model.strategy=trial_strategies.Growing",
    "--model.restore_best=false",
    "--data.image_size=32",
    "--data.per_class=12",
    "--data.val_fraction=0",
    "--data.batch_size=2",
    f"--data.stream.experiences={EXPERIENCES}",
    "--data.stream.base_fraction=0.1",
    "--trainer.callbacks=lightning_vision.testing.snapshots.Snapshots",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, with copies from the midst of an experience."""
    folder = tmp_path_factory.mktemp("grafts")
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(snapshots, "EXPERIENCE", KILLED)
        patches.setattr(snapshots.Snapshots, "folder", folder / "copies")
        return fit(folder, "whole", *OPTIONS, "--keep_checkpoints=all")


def test_it_resumes_to_the_same_end(whole: Path) -> None:
    copies = whole.parent / "copies" / "within"
    check_equal(fit(copies, "whole", *OPTIONS, "--keep_checkpoints=all", "--ckpt_path=last"), whole)


def test_its_checkpoints_load_and_the_last_one_is_exported(whole: Path) -> None:
    for t in (0, EXPERIENCES - 1):
        loaded = open_checkpoint(whole / "checkpoints" / f"experience={t:04d}.ckpt", trust_run=True)
        assert [graft["key"] for graft in loaded.model.network.grafts] == [f"t{number}" for number in range(t + 1)]
    run, data = lv.open_run(whole, trust_run=True), loaded.datamodule
    known = run.predictions
    images = torch.stack([data.image(int(row)) for row in known["index"]])
    table = run.predict(images)
    assert table["predicted"].tolist() == known["predicted"].tolist()
    np.testing.assert_allclose(table["confidence"], known["confidence"], rtol=1e-5)
    program = trace(ClassifierModule(loaded.model), 32).module()
    found = program(images)["logits"].softmax(dim=1).max(dim=1)
    assert [run.results.class_names[place] for place in found.indices] == known["predicted"].tolist()
    np.testing.assert_allclose(found.values, known["confidence"], rtol=1e-4)
