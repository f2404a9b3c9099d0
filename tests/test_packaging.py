"""What is installed: the wheel's contents, configs from a wheel and from this checkout alike, versions, what CI runs."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from lightning_vision.program.config_schema import schema_name
from lightning_vision.program.shipped_configs import config_folder
from lightning_vision.results.schema import read_results

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What a release uploads, by suffix: the source distribution, and the wheel that is built from it.

    Without an environment of its own, which takes the network.
    """
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.suffix: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def wheel(built: dict[str, Path]) -> zipfile.ZipFile:
    return zipfile.ZipFile(built[".whl"])


def configs_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml")}


def test_the_wheel_holds_the_three_packages_whole_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """Automatic discovery finds none of several packages, so they are listed by hand; a new room is easily left out."""
    names = wheel.namelist()
    held = {name for name in names if ".dist-info/" not in name and not name.startswith("lightning_vision/configs/")}
    packages = ("lightning_vision", "strategies", "datamodules")
    sources = {
        path.relative_to(ROOT).as_posix()
        for package in packages
        for kind in ("*.py", "*.j2", "*.css", "*.js", "py.typed")
        for path in (ROOT / package).rglob(kind)
    }
    assert held == sources
    assert {f"{package}/py.typed" for package in packages} <= held
    assert f"lightning_vision/configs/{schema_name()}" in names


def test_the_wheel_holds_all_configs_and_the_licence(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    prefix = "lightning_vision/configs/"
    assert {name.removeprefix(prefix) for name in names if name.endswith(".yaml")} == configs_below(ROOT / "configs")
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_console_script_is_the_program(wheel: zipfile.ZipFile) -> None:
    (path,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    entries = ConfigParser()
    entries.read_string(wheel.read(path).decode())
    assert dict(entries["console_scripts"]) == {"lightning-vision": "lightning_vision.cli:main"}


def test_the_source_distribution_can_be_tested_and_cited(built: dict[str, Path]) -> None:
    with tarfile.open(built[".gz"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "CITATION.cff", "constraints.txt", "tests/conftest.py", "configs/quickstart.yaml"} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith((".venv", "runs", ".git/"))]


def test_an_installed_wheel_runs_the_quickstart_in_an_empty_folder(built: dict[str, Path], tmp_path: Path) -> None:
    """Configs are beside the packages in a checkout, and inside of them in a wheel.

    It is installed without its dependencies, beside those of this environment.
    """
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--target", str(installed), str(built[".whl"])], check=True, capture_output=True)
    elsewhere.mkdir()
    program = (
        "import lightning_vision\n"
        "from lightning_vision.cli import main\n"
        "print(lightning_vision.__file__)\n"
        "print(main(['--version']), main(['list']))\n"
        "print(main(['fit', '--config', 'configs/quickstart.yaml', '--config=configs/trainer/bf16.yaml', '--print_config']))\n"
        "print(main(['fit', '--config', 'configs/quickstart.yaml', '--trainer.max_epochs=1', '--model.base_epochs=1',"
        " '--trainer.limit_train_batches=2', '--energy.enabled=false', '--wandb.mode=disabled', '--run_name=first']))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    assert lines[0] == str(installed / "lightning_vision" / "__init__.py"), done.stderr
    assert lines[1] == f"lightning_vision {PROJECT['version']}"
    for config in configs_below(ROOT / "configs"):
        assert any(line.startswith(f"  configs/{config} ") for line in lines), config
    printed = done.stdout[done.stdout.index("seed_everything:") :]
    assert yaml.safe_load(printed[: printed.index("\n0\n")])["trainer"]["precision"] == "bf16-mixed"
    assert lines[-1] == "0", done.stderr
    assert [path.name for path in elsewhere.iterdir()] == ["runs"], "nothing is written by looking"
    assert read_results(elsewhere / "runs" / "first" / "results.json").run.complete


def test_this_checkout_finds_its_configs() -> None:
    assert config_folder() == ROOT / "configs"


def test_the_constraints_pin_every_dependency_within_its_bounds() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {canonicalize_name(pin.name): str(pin.specifier) for pin in pins}
    assert all(re.fullmatch(r"==[^*,]+", version) for version in versions.values()), (
        "exact versions, so that pip cannot move one"
    )
    assert len(versions) == len(pins)
    asked = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    for requirement in map(Requirement, asked):
        pinned = Version(versions[canonicalize_name(requirement.name)].removeprefix("=="))
        assert pinned in requirement.specifier, f"{requirement} and {pinned}"


def test_the_tests_have_what_the_site_needs() -> None:
    """The extra dev is written out, since an extra cannot name another one of a package that is not published."""
    extras = PROJECT["optional-dependencies"]
    assert set(extras["docs"]) <= set(extras["dev"])


def test_ci_runs_the_tests_as_the_readme_does() -> None:
    """.ci/run reads the command from the README: it must find one, and the README must have it in a block to copy."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"grep -E \"(.+)\" README\.md", script)
    assert pattern is not None
    expression = pattern[1].replace("\\\\", "\\")
    found = [
        line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if re.search(expression, line)
    ]
    assert found == [
        "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e '.[dev]' && .venv/bin/pytest"
    ]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=False).returncode == 0


def test_pre_commit_calls_what_ci_calls() -> None:
    """Local hooks from the environment that is active, so that both are of one version."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]
    assert hooks["repo"] == "local"
    assert {tuple(hook["entry"].split()[:2]) for hook in hooks["hooks"]} == {
        ("ruff", "check"),
        ("ruff", "format"),
        ("mypy",),
    }


def test_one_version_is_in_all_files() -> None:
    version = PROJECT["version"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == version
    assert cited["authors"] == [{"name": "The lightning_vision developers"}] == PROJECT["authors"]
    assert cited["license"] == PROJECT["license"]
    heading = next(
        line for line in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines() if line[:3] == "## "
    )
    assert heading.split(",")[0] == f"## {version}"


def test_the_container_is_built_from_what_is_installed() -> None:
    """hadolint knows the rules of Dockerfiles; here is what it cannot know."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lint = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr
    copied = [word for line in re.findall(r"^COPY (.+) \S+$", text, flags=re.MULTILINE) for word in line.split()]
    assert all((ROOT / name).exists() for name in copied)
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    needed = {
        *packaged["wheel"]["packages"],
        *packaged["wheel"]["force-include"],
        "pyproject.toml",
        "README.md",
        "LICENSE",
    }
    assert needed <= set(copied)
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == let_in
    assert re.search(r"^ARG BASE=python:3\.11", text, flags=re.MULTILINE) and "FROM ${BASE}" in text
    assert re.search(r"^USER \d+$", text, flags=re.MULTILINE), "not root"
    assert not re.search(r"^(ENV|ARG).*(TOKEN|KEY|PASSWORD)", text, flags=re.MULTILINE)


def test_the_licence_is_the_one_that_is_declared() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
