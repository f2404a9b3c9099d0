"""The JSON schema of the configs: every shipped one fits it, and what the program would refuse does not."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from refusals import refused
from trial_strategies import __name__ as own_module

import lightning_vision as lv
from lightning_vision.cli import main
from lightning_vision.program import config_schema
from lightning_vision.program.config_schema import schema_name
from lightning_vision.program.plugins import Plugin
from lightning_vision.program.schema_command import schema_text
from lightning_vision.program.shipped_configs import MODELINE, config_folder

CONFIGS = [path for path in sorted(config_folder().rglob("*.yaml")) if path.parent.name != "sweeps"]  # those are W&B's
QUICKSTART = yaml.safe_load((config_folder() / "quickstart.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    content = json.loads((config_folder() / schema_name()).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(content)
    return Draft202012Validator(content)


def changed(key: str, value: Any) -> Any:
    """The quickstart with another value of an option."""
    config = json.loads(json.dumps(QUICKSTART))
    *parents, last = key.split(".")
    place = config
    for name in parents:
        place = place[name]
    place[last] = value
    return config


def test_the_shipped_schema_is_that_of_the_classes() -> None:
    """If this fails, an option has changed: lightning-vision schema --output configs/schema-<version>.json."""
    assert (config_folder() / schema_name()).read_text(encoding="utf-8") == schema_text(plugins=False)
    assert [path.name for path in config_folder().glob("schema-*.json")] == [schema_name()]


def test_every_shipped_config_fits_and_names_it(schema: Draft202012Validator) -> None:
    for path in CONFIGS:
        text = path.read_text(encoding="utf-8")
        assert not list(schema.iter_errors(yaml.safe_load(text))), path
        first = text.split("\n")[0]
        assert first.startswith(MODELINE)
        assert (path.parent / first.removeprefix(MODELINE)).resolve() == config_folder() / schema_name()


@pytest.mark.parametrize(
    ("key", "value", "place", "words"),
    [
        ("model.backbon", "resnet18", "model", "'backbon' was unexpected"),
        ("trainer.max_epochs", "ten", "trainer.max_epochs", "'ten' is not"),
        ("model.strategy.class_path", "strategies.MoveToDatum", "model.strategy", "is not valid under any"),
        ("model.strategy.init_args.epsilom", 0.1, "model.strategy", "is not valid under any"),
        ("data.init_args.on_leak", "ignore", "data", "is not valid under any"),
    ],
)
def test_broken_configs(
    key: str, value: Any, place: str, words: str, schema: Draft202012Validator, tmp_path: Path, capsys: Any
) -> None:
    """Each is what the program refuses, too."""
    broken = changed(key, value)
    errors = list(schema.iter_errors(broken))
    assert [".".join(map(str, error.path)) for error in errors] == [place]
    assert words in errors[0].message
    (tmp_path / "broken.yaml").write_text(yaml.safe_dump(broken))
    assert main(["fit", "--config", str(tmp_path / "broken.yaml"), "--print_config"]) == 2
    told = capsys.readouterr().err
    assert key.rsplit(".", 1)[-1] in told or str(value) in told


def test_a_class_of_ones_own_is_any_dotted_path(schema: Draft202012Validator) -> None:
    assert schema.is_valid(changed("model.strategy", {"class_path": f"{own_module}.Mine", "init_args": {"any": 1}}))
    assert schema.is_valid(changed("model.strategy", "HeadOnly"))
    assert not schema.is_valid(changed("model.strategy", "HeadOnli"))


def test_descriptions_are_those_of_the_docstrings(schema: Draft202012Validator) -> None:
    properties = schema.schema["properties"]
    assert properties["model"]["properties"]["base_checkpoint"]["description"].startswith(
        "A checkpoint or run directory"
    )
    assert "class_names" not in properties["model"]["properties"], "taken from the data"


def test_plugins_are_included(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Pulled(lv.Strategy):
        """Of another package.

        Args:
            force: How hard.
        """

        def __init__(self, force: float = 1.0) -> None:
            super().__init__()
            self.force = force

    plugin = Plugin("Pulled", "lightning_vision.strategies", "pull", "1.0", Pulled)
    monkeypatch.setattr(config_schema, "load_plugins", lambda: [plugin])
    monkeypatch.chdir(tmp_path)
    assert main(["schema"]) == 0
    assert f"{MODELINE}{schema_name()}" in capsys.readouterr().out
    found = Draft202012Validator(json.loads((tmp_path / schema_name()).read_text(encoding="utf-8")))
    assert found.is_valid(changed("model.strategy", {"class_path": "Pulled", "init_args": {"force": 2.0}}))
    assert not found.is_valid(changed("model.strategy", {"class_path": "Pulled", "init_args": {"force": "much"}}))


@pytest.mark.parametrize("folder", [".", "below"])
def test_a_folder_is_no_file_for_the_schema(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("below").mkdir()
    refused(capsys, ["schema", "--output", folder], 2, f"found the folder {folder}", str(Path(folder) / schema_name()))


def test_the_schema_of_another_version_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for version, said in (("0.1", True), (re.findall(r"\d+\.\d+", schema_name())[0], False)):
        config = tmp_path / "own.yaml"
        config.write_text(f"{MODELINE}schema-{version}.json\n{yaml.safe_dump(QUICKSTART)}")
        assert main(["fit", "--config", str(config), "--print_config"]) == 0
        told = f"{config} names the schema of lightning_vision {version}, and this is"
        assert (told in capsys.readouterr().err) is said
