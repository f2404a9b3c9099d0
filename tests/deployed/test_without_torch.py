"""An exported classifier predicts, learns and shows what it found in a process that never loads torch."""

import subprocess
import sys
from pathlib import Path

from deployed.onnx_maker import write_model
from photo_folder import write_photos

PROGRAM = """
import sys
from lightning_vision.deployed.predict_folder import predict
from lightning_vision.deployed.on_device import OnDeviceClassifier

folder = sys.argv[1]
classifier = OnDeviceClassifier(f"{folder}/m.onnx")
assert classifier.learn(f"{folder}/photos/cats/0000.jpg", "cats", 0.1)
classifier.save()
assert predict(["--model", f"{folder}/m.onnx", f"{folder}/photos", "--output", f"{folder}/out.csv"]) == 0
heavy = {name.split(".")[0] for name in sys.modules}
print(sorted(heavy & {"torch", "torchvision", "lightning", "timm", "torchmetrics", "onnx", "pandas", "scipy", "matplotlib"}))
"""


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    write_model(tmp_path / "m.onnx")
    write_photos(tmp_path / "photos", per_class=2)
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=root, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "[]"
    assert (tmp_path / "out.csv").is_file() and (tmp_path / "out.html").is_file()
    assert "trained on 1 image on this device" in ended.stdout
