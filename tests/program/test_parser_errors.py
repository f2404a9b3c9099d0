"""What a user reads when an option, a class or a configuration file is wrong: the near names, the way out, no traceback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import QUICK
from refusals import refused

import strategies
from lightning_vision.cli import main
from lightning_vision.learning.strategy import Strategy
from lightning_vision.program.parser_errors import explain, known_classes

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration file."""

    def write_file(text: str) -> str:
        path = tmp_path / "written.yaml"
        path.write_text(text)
        return str(path)

    return write_file


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model.strategy", "MoveToDat"], ["Unknown learning strategy 'MoveToDat'", "nearest first: MoveToData", "HeadOnly"]),
        (["--model.base_strategy", "HeadsOnly"], ["Unknown learning strategy", "nearest first: HeadOnly"]),
        (["--data", "ImgFolder"], ["Unknown datamodule 'ImgFolder'", "nearest first: ImageFolder"]),
        (["--data.stream", "ClassIncr"], ["Unknown scenario 'ClassIncr'", "nearest first: ClassIncremental", "Joint"]),
        (["--model.optimizer", "Adem"], ["Unknown optimizer 'Adem'", "nearest first: Adam"]),
        (["--model.lr_scheduler", "StepL"], ["Unknown learning-rate scheduler", "nearest first: StepLR"]),
        (["--trainer.callbacks", "EarlyStoping"], ["Unknown callback", "nearest first: EarlyStopping"]),
        (["--model.strategy", "os.path.join"], ["'os.path.join' is not a learning strategy", "ACIL"]),
        (["--model.strategy", "datamodules.Digits"], ["'datamodules.Digits' is not a learning strategy"]),
        (["--data", "strategies.MoveToData"], ["strategies.MoveToData is not a datamodule", "Digits"]),
        (["--model.strategy", "strategies.MoveToDat"], ["has no attribute 'MoveToDat'", "nearest first: MoveToData"]),
        (["--model.strategy", "no_such_module.Class"], ["No module named 'no_such_module'"]),
        (["--model.strategy", "StepMemory"], ["Unknown learning strategy 'StepMemory'"]),  # a base of ER and others
        (["--model.strategy.help", "MoveToDat"], ["Unknown learning strategy 'MoveToDat'", "nearest first: MoveToData"]),
    ],
)  # fmt: skip
def test_an_unknown_class_lists_the_known_ones_nearest_first(
    options: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    refused(capsys, ["fit", *QUICK, *options], 2, *words)


def test_the_known_strategies_are_those_of_the_package_without_their_bases() -> None:
    own = {cls.__name__ for cls in known_classes(Strategy) if cls.__module__.startswith("strategies.")}
    assert own == {name for name in strategies.__all__ if issubclass(getattr(strategies, name), Strategy)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model.bckbone=x"], ["Unknown option --model.bckbone", "--model.backbone"]),
        (["--trainer.max_epoch=1"], ["Unknown option --trainer.max_epoch", "--trainer.max_epochs"]),
        (["--epsilon=1"], ["Unknown option --epsilon"]),
        (["--model.strategy=MoveToData", "--model.strategy.epsilom=1"], ["'epsilom' of model.strategy", "Similar names: epsilon"]),
        (["--model.strategy=HeadOnly", "--model.strategy.epsilon=1"], ["not an option of the class chosen", "MoveToData"]),
        (["--data.batch_sice=4"], ["'batch_sice' of data", "batch_size"]),
        (["--data.stream.experience=4"], ["'experience' of data.stream", "Similar names: experiences"]),
        (["--model.optimizer=SGD", "--model.optimizer.momentun=0.5"], ["'momentun'", "Similar names: momentum"]),
        (["photos"], ["Unexpected word 'photos'", "--config FILE"]),
    ],
)  # fmt: skip
def test_an_unknown_option_gets_similar_names(
    options: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    refused(capsys, ["fit", *QUICK, *options], 2, *words)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--trainer.max_epochs=abc"], "trainer.max_epochs: expected int, found abc."),
        (["--data.batch_size=1.5"], "data.batch_size: expected int, found '1.5'."),
        (["--seed_everything=abc"], "seed_everything: expected bool or int, found abc."),
        (["--keep_checkpoints=some"], "keep_checkpoints: expected one of last, all or int, found some."),
        (["--wandb.mode=on"], "wandb.mode: expected one of offline, online, disabled, found on."),
        (["--model.strategy=MoveToData", "--model.strategy.epsilon=[0.1,0.2"], "model.strategy.epsilon: expected float or list"),
        (["--model.optimizer=SGD", "--model.optimizer.momentum=a"], "momentum: expected float, found a."),
        (["--data.stream=FromColumn"], "data.stream: FromColumn needs column. Give --data.stream.column VALUE"),
        (["--data=ImageFolder"], "data: ImageFolder needs root. Give --data.root VALUE"),
        (["--model.lr_scheduler=OneCycleLR"], "model.lr_scheduler: OneCycleLR needs max_lr."),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind(options: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = [option for option in options]
    quick = [word for word in QUICK if not word.startswith("--data.stream.")]
    refused(capsys, ["fit", *quick, *options], 2, text)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("data: Digits\n  x: 3\n- a", ["mapping values are not allowed", "line 2"]),
        ("", ["the file is empty", "key: value"]),
        ("just text", ["expected options", "'just text'"]),
        (
            "data: Digits\nmodel: {backbone: x}\nmodel: {strategy: HeadOnly}",
            ["'model' in line 2 and again in line 3, of which only the last would count"],
        ),
        ("data: Digits\ntrainer:\n  max_epochs: 1\n  max_epochs: 2", ["'max_epochs' in line 3 and again in line 4"]),
        ("data: {class_path: Digts}", ["Unknown datamodule 'Digts'", "nearest first: Digits"]),
        ("data: {class_path: Digits, init_args: {batch_sice: 3}}", ["'batch_sice' of data", "batch_size"]),
        (
            "data: {class_path: Digits, init_args: {stream: {class_path: ClassIncremental, init_args: {experience: 3}}}}",
            ["'experience' of data.stream", "experiences"],
        ),
        ("data: {class_path: Digits, init_args: {stream: {class_path: ClassIncrementa}}}", ["nearest first: ClassIncremental"]),
        ("data: Digits\nmodel: {strategy: {class_path: MoveToDaat}}", ["nearest first: MoveToData"]),
        ("data: Digits\nmodel: {strategy: {class_pat: MoveToData}}", ["'class_pat'", "class_path"]),
        ("data: Digits\nmodel: {strategy: {class_path: MoveToData, init_args: {epsilom: 1}}}", ["'epsilom' of model.strategy"]),
        (
            "data: Digits\nmodel: {optimizer: {class_path: SGD, lr: 0.1}}",
            ["Beside class_path stands a key other than init_args", "init_args: {lr: 0.1}"],
        ),
        ("data: Digits\nmodel: {optimizer: {class_path: Adam, init_args: {lr: abc}}}", ["lr: expected float, found abc."]),
        ("data: Digits\ntrainer: {max_epochs: abc}", ["trainer.max_epochs: expected int, found abc"]),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_names_the_file(
    content: str, words: list[str], write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """Several files may be composed: without the name, one has to look through all of them."""
    path = write(content)
    message = refused(capsys, ["fit", "--config", path], 2, *words)
    assert path in message


@pytest.mark.parametrize(
    ("content", "near"),
    [
        ("data: Digits\nmodel: {strategie: MoveToData}", "model.strategy"),
        ("data: Digits\nmodl: {backbone: x}", "model.backbone"),
        ("data: Digits\nmodl: {strategy: {class_path: HeadOnly}}", "model.strategy"),
        ("data: Digits\nmodel: {strategie: {class_path: HeadOnly, init_args: {}}}", "'model.strategie'"),
    ],
)
def test_an_unknown_key_of_a_file(content: str, near: str, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, ["fit", "--config", write(content)], 2, "Unknown configuration key")
    assert near in message
    assert ".help" not in message.split("All:")[0], "an option that only shows help is no near name of a key"


def test_a_file_that_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "image.yaml"
    path.write_bytes(b"\xff\xd8\xff\xe0\x85")
    refused(capsys, ["fit", "--config", str(path)], 2, f"{path} is not a text file")


@pytest.mark.parametrize(
    "words",
    [["fit"], ["fit", "--data.batch_size=3"], ["test", "--data.batch_size=3"], ["fit", "--trainer.max_epochs=1"]],
)
def test_nothing_goes_without_data(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    refused(
        capsys, words, 2, "No datamodule is given", "--data CLASS", "configs/quickstart.yaml", "Digits", "ImageFolder"
    )


@pytest.mark.parametrize(
    ("value", "said"), [("-3", "found -3"), ("false", "found False"), ("4294967296", "found 4294967296")]
)
def test_a_seed_that_is_none(value: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``false`` would leave the weights to chance while the record names a seed."""
    refused(capsys, ["fit", *QUICK, f"--seed_everything={value}"], 2, "seed_everything: expected a number from 0", said)


def test_a_module_with_an_error_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """jsonargparse takes it for a name that does not exist."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "with_mistake.py").write_text("def broken(:\n")
    refused(capsys, ["fit", *QUICK, "--model.strategy=with_mistake.Mine"], 2, "cannot be imported: SyntaxError")


def test_a_message_that_nobody_foresaw_is_kept() -> None:
    assert explain(" Something new. ", ["--model"]) == "Something new."


class TestReplacedClass:
    """jsonargparse silently keeps options of a former class if the next has options with the same names."""

    def composed(self, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[dict[str, Any], str]:
        capsys.readouterr()
        assert main(["fit", *words, "--print_config"]) == 0
        shown = capsys.readouterr()
        return yaml.safe_load(shown.out), shown.err

    def test_a_later_scenario_starts_from_its_own_defaults(
        self, write: Write, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = write(
            "data: {class_path: Digits, init_args: {stream: {class_path: InstanceIncremental, init_args: {experiences: 9, seed: 4}}}}"
        )
        config, said = self.composed(capsys, "--config", path, "--data.stream=ClassIncremental")
        stream = config["data"]["init_args"]["stream"]
        assert stream["class_path"] == "lightning_vision.ClassIncremental"
        assert stream["init_args"]["experiences"] == 5
        assert stream["init_args"]["seed"] == 0
        assert said.count("InstanceIncremental is replaced by ClassIncremental") == 1
        assert "experiences=9" in said

    def test_a_later_strategy_too(
        self, tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "another_strategy.py").write_text(
            "from lightning_vision import Strategy\n\n\nclass Another(Strategy):\n"
            "    def __init__(self, epsilon: float = 0.75) -> None:\n        super().__init__()\n"
        )
        first = write("data: Digits\nmodel: {strategy: {class_path: MoveToData, init_args: {epsilon: 0.125}}}")
        second = tmp_path / "second.yaml"
        second.write_text("model: {strategy: another_strategy.Another}")
        config, said = self.composed(capsys, "--config", first, "--config", str(second))
        assert config["model"]["strategy"] == {
            "class_path": "another_strategy.Another",
            "init_args": {"epsilon": 0.75},
        }
        assert said.count("MoveToData is replaced by Another: its options are dropped (epsilon=0.125") == 1

    def test_the_same_class_by_its_other_name_keeps_its_options(
        self, write: Write, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = write(
            "data: Digits\nmodel: {strategy: {class_path: strategies.MoveToData, init_args: {epsilon: 0.125}}}"
        )
        config, said = self.composed(
            capsys, "--config", path, "--model.strategy=MoveToData", "--model.strategy.passes=2"
        )
        assert config["model"]["strategy"]["init_args"] == {"epsilon": 0.125, "passes": 2}
        assert said == ""

    def test_another_datamodule_keeps_the_options_that_all_share(
        self, write: Write, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = write("data: {class_path: Digits, init_args: {batch_size: 7, domains: 3, stream: Joint}}")
        config, _ = self.composed(capsys, "--config", path, "--data=ImageFolder", "--data.root=photos")
        options = config["data"]["init_args"]
        assert (options["root"], options["batch_size"]) == ("photos", 7)
        assert options["stream"]["class_path"] == "lightning_vision.Joint"
        assert "domains" not in options

    def test_another_optimizer_speaks_only_of_what_someone_chose(
        self, write: Write, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The parser fills in every default of an optimizer: they are nobody's wish."""
        _, said = self.composed(capsys, "--data=Digits", "--model.optimizer=SGD")
        assert said == ""
        path = write("data: Digits\nmodel: {optimizer: {class_path: AdamW, init_args: {lr: 0.5}}}")
        config, said = self.composed(capsys, "--config", path, "--model.optimizer=SGD")
        assert said.strip() == "AdamW is replaced by SGD: its options are dropped (lr=0.5)."
        assert config["model"]["optimizer"]["init_args"]["lr"] == 0.001
