"""ExecuTorch's files; its package is an extra."""

import json
import sys
from pathlib import Path

import pytest
import torch
from loaded_run import SIDE, classifier

from lightning_vision.errors import ConfigError
from lightning_vision.exporting.check import check_equal, compare
from lightning_vision.exporting.classifier_module import ClassifierModule
from lightning_vision.exporting.description import Description
from lightning_vision.exporting.formats import Pte
from lightning_vision.exporting.pte_file import write_pte


def described(module: ClassifierModule) -> Description:
    names = ["red", "green", "blue", "grey"]
    return Description(
        names, [True] * 4, SIDE, [], [0.5] * 3, [0.5] * 3, 1.0, None, "test_resnet", "strategies.HeadOnly",
        module.num_features, module.linear_head, None, False,
    )  # fmt: skip


def test_executorch_takes_it(tmp_path: Path) -> None:
    runtime = pytest.importorskip("executorch.runtime", reason="ExecuTorch is an extra")
    model = classifier()
    model.network.see(range(4))
    module = ClassifierModule(model)
    path = tmp_path / "m.pte"
    Pte().write(module, described(module), path)
    images = torch.randint(0, 256, (9, 3, SIDE, SIDE), dtype=torch.uint8).numpy()
    check_equal(compare(model, Pte().open(path), images), "m.pte")
    program = runtime.Runtime.get().load_program(path)
    (text,) = program.load_method("lightning_vision").execute(())
    assert json.loads(bytes(text.numpy()))["class_names"] == ["red", "green", "blue", "grey"]
    (weight,) = program.load_method("head_weight").execute(())
    assert torch.equal(weight, module.weight)


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "executorch", None)
    module = ClassifierModule(classifier())
    with pytest.raises(
        ConfigError, match=r"--format pte needs ExecuTorch .*pip install 'lightning_vision\[executorch\]'"
    ):
        write_pte(module, described(module), tmp_path / "m.pte")
