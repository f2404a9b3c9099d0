"""The template of a package with a learning strategy installs from its folder, is found, and passes the kit."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_vision.results.schema import read_results

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "docs" / "examples" / "lightning-vision-stay-close"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder, as a user would make one, beside what pip makes of it; nothing is fetched."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(TEMPLATE, folder / "source", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    place = ["--no-build-isolation", "--target", str(folder / "site"), str(folder / "source")]
    done = subprocess.run([*pip, *place], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python, which finds the package where pip put it."""
    paths = os.pathsep.join([str(folder / "site"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_it_is_listed_with_its_version_and_found_by_its_short_name(installed: Path) -> None:
    options = [
        "fit", "--model.strategy=StayClose", "--model.strategy.alpha=0.5", "--data=lightning_vision.testing.ColouredSquares",
        "--model.backbone=test_vit", "--model.pretrained=false", "--data.stream=InstanceIncremental",
        "--data.stream.experiences=2", "--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--energy.enabled=false",
        "--wandb.mode=disabled", "--run_name=run",
    ]  # fmt: skip
    program = f"from lightning_vision.cli import main\nprint(main(['list']), main({options!r}))"
    done = python(installed, "-c", program)
    assert done.stdout.endswith("0 0\n"), done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("  StayClose ")]
    assert "Fine-tune near the former weights" in row and row.endswith("(lightning-vision-stay-close 0.1.0)")
    strategy = read_results(installed / "runs" / "run" / "results.json").run.strategy
    assert strategy.class_path == "lightning_vision_stay_close.StayClose" and strategy.init_args["alpha"] == 0.5


def test_its_own_test_passes(installed: Path) -> None:
    done = python(installed, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", str(installed / "source"))
    assert done.returncode == 0, done.stdout
    assert "20 passed" in done.stdout and "skipped" not in done.stdout


def without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.unparse(tree)


def test_the_page_and_the_template_have_the_same_strategy() -> None:
    page = (ROOT / "docs" / "write_a_strategy.md").read_text(encoding="utf-8")
    code = page.split("```python\n# stay_close.py\n")[1].split("```")[0]
    file = TEMPLATE / "src" / "lightning_vision_stay_close" / "stay_close.py"
    assert without_docstrings(code) == without_docstrings(file.read_text(encoding="utf-8"))
