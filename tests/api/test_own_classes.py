"""Strategies and data that are defined where a notebook defines them: in ``__main__``, without a file."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
from pathlib import Path
import lightning_vision as lv
from lightning_vision.testing import ColouredSquares

class Mine(lv.Strategy):
    "The head alone, with an option."
    freezes_backbone = True
    def __init__(self, scale: float = 1.0):
        super().__init__()
        self.scale = scale
    def parameters_to_train(self, network):
        return network.head.parameters()
    def loss(self, network, batch):
        return self.scale * super().loss(network, batch)

class Squares(ColouredSquares):
    "Data with options that it hands on."
    def __init__(self, noise: float = 20.0, **options):
        super().__init__(noise=noise, **options)

if __name__ == "__main__":
    options = dict(backbone="test_resnet", pretrained=False, max_epochs=1, energy=False, wandb="disabled", progress=False,
                   trainer={"accelerator": "cpu", "devices": 1})
    data = Squares(per_class=16, stream=lv.InstanceIncremental(experiences=2))
    run = lv.fit(data, Mine(scale=2.0), root=".", name="run", **options)
    config = lv.RunConfig.read(run.path)
    assert set(config.not_written) == {"model.strategy", "data"}, config.not_written
    assert "move it to a module" in config.not_written["data"]
    assert config["model.strategy"] == {"class_path": "__main__.Mine", "init_args": {"scale": 2.0}}
    assert config["data.init_args.per_class"] == 16
    comparison = lv.compare(data, {"mine": Mine(), "head": "HeadOnly"}, output="c", **options)
    assert comparison.failures == {} and len(comparison.ranking) == 2, comparison.failures
    print("two cells")
"""


def test_classes_of_a_program_that_is_no_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-"], input=PROGRAM, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "two cells\n" and "Traceback" not in done.stderr
