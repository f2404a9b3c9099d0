"""What is installed: the wheel's contents, configs from a wheel and from this checkout alike, versions, what CI runs."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from lightning_vision.program.shipped_configs import config_folder

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built as pip builds it, without pip's environment of its own, which takes the network."""
    built = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"]))
    return zipfile.ZipFile(built)


def configs_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml")}


def test_the_wheel_holds_the_three_packages_whole_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """Automatic discovery finds none of several packages, so they are listed by hand; a new room is easily left out."""
    held = {name for name in wheel.namelist() if ".dist-info/" not in name and not name.endswith(".yaml")}
    packages = ("lightning_vision", "strategies", "datamodules")
    sources = {
        path.relative_to(ROOT).as_posix()
        for package in packages
        for kind in ("*.py", "*.j2", "*.css", "*.js")
        for path in (ROOT / package).rglob(kind)
    }
    assert held == sources


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


def test_an_unpacked_wheel_finds_its_configs_from_any_folder(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """Beside the packages in a checkout, inside of them in a wheel: force-include is missing from editable installs."""
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    wheel.extractall(installed)
    elsewhere.mkdir()
    program = (
        "import lightning_vision\n"
        "from lightning_vision.cli import main\n"
        "print(lightning_vision.__file__)\n"
        "print(main(['--version']), main(['list']))\n"
        "print(main(['fit', '--config', 'configs/quickstart.yaml', '--config=configs/trainer/bf16.yaml', '--print_config']))\n"
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
    printed = yaml.safe_load(done.stdout[done.stdout.index("seed_everything:") : done.stdout.rindex("\n0")])
    assert printed["trainer"]["precision"] == "bf16-mixed"
    assert not any(elsewhere.iterdir()), "nothing is written by looking"


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


def test_the_licence_is_the_one_that_is_declared() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
