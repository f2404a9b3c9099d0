"""Runs from Python: the same as from the command line, on copies, and what cannot be written in a configuration."""

import asyncio
import copy
import json
import signal
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from coloured_squares import ColouredSquares
from command_line import QUICK as WORDS
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.loggers import CSVLogger
from torchvision.transforms import v2

from lightning_vision import ContinualClassifier, InstanceIncremental, Strategy
from lightning_vision.api.fit import fit
from lightning_vision.api.open_run import open_run
from lightning_vision.api.run import Run
from lightning_vision.api.run_config import RunConfig
from lightning_vision.cli import main
from lightning_vision.errors import CheckpointError, ConfigError, DataError
from lightning_vision.learning.checkpoints import read_checkpoint
from lightning_vision.recipes import MovingAverage
from strategies import HeadOnly, LwF, MoveToData, NearestMean

TRAINER = {"accelerator": "cpu", "devices": 1}
QUICK: dict[str, Any] = {
    "backbone": "test_resnet",
    "pretrained": False,
    "max_epochs": 1,
    "trainer": TRAINER,
    "energy": False,
    "wandb": "disabled",
    "progress": False,
}
CHANGES = {"name", "seconds", "samples_per_second", "peak_memory_bytes", "config_hash"}
"""What differs between two runs of the same options."""


def squares(**options: Any) -> ColouredSquares:
    return ColouredSquares(stream=InstanceIncremental(experiences=3), feature_cache_gb=0, **options)


def by_command(folder: Path, name: str, *words: str) -> int:
    """The exit code of the same ``fit`` on the command line."""
    common = [
        word for word in WORDS if word != "--trainer.enable_progress_bar=false" and not word.startswith("--data=")
    ]
    data = ["--data=lightning_vision.testing.ColouredSquares", "--data.feature_cache_gb=0"]
    place = [f"--trainer.default_root_dir={folder}", f"--run_name={name}"]
    return main(["fit", *data, *common, *place, *words])


def fit_by_command(folder: Path, name: str, *words: str) -> Path:
    """The run directory of a run that must succeed."""
    assert by_command(folder, name, *words) == 0
    return folder / name


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in CHANGES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def results_of(run: Path) -> Any:
    return without_times(json.loads((run / "results.json").read_text(encoding="utf-8")))


def config_of(run: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    config["trainer"]["devices"] = int(config["trainer"]["devices"])  # a word on the command line
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fit(squares(), LwF(), name="finished", root=tmp_path_factory.mktemp("runs"), **QUICK)


# ---- the same run ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": MoveToData(epsilon=[1e-3])}, ["--model.strategy=MoveToData", "--model.strategy.epsilon=[1e-3]"]),
        ({"strategy": "HeadOnly"}, ["--model.strategy=HeadOnly"]),
        (
            {
                "strategy": LwF(),
                "base_strategy": HeadOnly(),
                "optimizer": partial(torch.optim.SGD, lr=0.01, momentum=0.9),
                "base_optimizer": torch.optim.Adam,
                "trainer": {**TRAINER, "callbacks": [MovingAverage(decay=0.9)]},
                "seed": 3,
            },
            [
                *("--model.strategy=LwF", "--model.base_strategy=HeadOnly", "--model.optimizer=SGD"),
                *("--model.optimizer.lr=0.01", "--model.optimizer.momentum=0.9", "--model.base_optimizer=Adam"),
                *("--trainer.callbacks+=MovingAverage", "--trainer.callbacks.decay=0.9", "--seed_everything=3"),
            ],
        ),
    ],
    ids=["closed_form", "name", "recipe"],
)
def test_a_run_by_python_is_the_run_by_the_command_line(
    options: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    run = fit(squares(), name="python", root=tmp_path, **(QUICK | {"progress": True} | options))
    other = fit_by_command(tmp_path, "command", *words)
    assert run.complete and results_of(run.path) == results_of(other)
    assert config_of(run.path) | {"run_name": "command"} == config_of(other)
    weights, others = (read_checkpoint(path / "checkpoints" / "experience=0002.ckpt") for path in (run.path, other))
    assert all(torch.equal(value, others["state_dict"][key]) for key, value in weights["state_dict"].items())


def test_its_configuration_repeats_it(finished: Run, tmp_path: Path) -> None:
    config = RunConfig.read(finished.path)
    assert config.not_written == {} and config["model.strategy"]["class_path"] == "strategies.LwF"
    (tmp_path / "config.yaml").write_text(str(config), encoding="utf-8")
    assert "strategies.LwF" in config._repr_html_()
    words = [f"--trainer.default_root_dir={tmp_path}", "--run_name=again"]
    assert main(["fit", "--config", str(tmp_path / "config.yaml"), *words]) == 0
    assert results_of(tmp_path / "again") == results_of(finished.path)


def test_either_door_resumes_what_the_other_began(finished: Run, tmp_path: Path) -> None:
    part = fit(squares(), LwF(), name="one", root=tmp_path, stop_after=0, **QUICK)
    assert not part.complete
    fit_by_command(tmp_path, "one", "--model.strategy=LwF", "--ckpt_path=last")
    assert results_of(tmp_path / "one") == results_of(finished.path)
    fit_by_command(tmp_path, "two", "--model.strategy=LwF", "--stop_after=1")
    assert fit(squares(), LwF(), name="two", root=tmp_path, resume=True, **QUICK).complete
    assert results_of(tmp_path / "two") == results_of(finished.path)


def test_a_run_is_named_as_on_the_command_line(tmp_path: Path) -> None:
    options = QUICK | {"root": tmp_path, "stop_after": 0}
    assert fit(squares(), "NearestMean", seed=2, **options).path.name == "NearestMean-InstanceIncremental-seed=2"
    assert fit(ColouredSquares(), **options).path.name == "FullFineTune-InstanceIncremental-seed=0"


def test_resume_and_overwrite(tmp_path: Path) -> None:
    options = QUICK | {"root": tmp_path, "name": "run", "strategy": NearestMean()}
    assert not fit(squares(), resume="auto", stop_after=0, **options).complete
    with pytest.raises(ConfigError, match=r"exists already. .* --ckpt_path last, .* --run_name"):
        fit(squares(), **options)
    assert fit(squares(), resume="auto", **options).complete
    before = (tmp_path / "run" / "results.json").read_bytes()
    assert fit(squares(), resume=True, **options).complete
    assert (tmp_path / "run" / "results.json").read_bytes() == before
    assert not fit(squares(), overwrite=True, stop_after=0, **options).complete
    with pytest.raises(ConfigError, match="give one of the two"):
        fit(squares(), overwrite=True, resume=True, **options)


def test_the_classifier_is_that_of_the_last_checkpoint(finished: Run) -> None:
    made = finished._checkpoint.open().model
    assert not made.training
    saved = read_checkpoint(finished.path / "checkpoints" / "experience=0002.ckpt")["state_dict"]
    assert all(torch.equal(value.cpu(), saved[key]) for key, value in made.state_dict().items())


# ---- objects -----------------------------------------------------------------------------------------------------------


def test_objects_that_are_given_are_not_changed(finished: Run, tmp_path: Path) -> None:
    data, strategy = squares(), LwF()
    before = copy.deepcopy((data.samples, data.class_names, dict(vars(strategy))))
    for name in ("first", "second"):
        fit(data, strategy, name=name, root=tmp_path, **QUICK)
        assert results_of(tmp_path / name) == results_of(finished.path)
    assert data.samples.equals(before[0]) and data.class_names == before[1]
    assert strategy.state_dict().keys() == LwF().state_dict().keys() and strategy.run_seed == 0
    assert vars(strategy).keys() == before[2].keys()


def test_one_strategy_for_base_and_stream(tmp_path: Path) -> None:
    strategy = HeadOnly()
    run = fit(squares(), strategy, base_strategy=strategy, name="run", root=tmp_path, **QUICK)
    trained = run._checkpoint.open().model
    assert trained.strategy is not trained.base_strategy


class RunsAnother(Callback):
    """Starts another run while one is trained."""

    def __init__(self, root: Path, strategy: Strategy) -> None:
        self.root, self.strategy = root, strategy

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        with pytest.raises(ConfigError, match="Another run is active in this process"):
            fit(squares(), self.strategy, name="inner", root=self.root, **QUICK)
        (self.root / "refused").touch()


def test_two_runs_at_once_in_one_process_are_refused(tmp_path: Path) -> None:
    strategy = HeadOnly()
    callbacks = [RunsAnother(tmp_path, strategy)]
    run = fit(squares(), strategy, root=tmp_path, **QUICK | {"trainer": {**TRAINER, "callbacks": callbacks}})
    assert run.complete and (tmp_path / "refused").exists() and not (tmp_path / "inner").exists()


def test_data_with_another_seed(tmp_path: Path) -> None:
    options = QUICK | {"root": tmp_path, "name": "run", "strategy": "NearestMean"}
    run = fit(squares(seed=1), stop_after=0, **options)
    assert run.results.run.seed == 0 and config_of(run.path)["data"]["init_args"]["seed"] == 1
    with pytest.raises(CheckpointError, match=r"data.init_args.seed: 1 then, 2 now"):
        fit(squares(seed=2), resume=True, **options)


def test_a_classifier_that_was_built_before(tmp_path: Path) -> None:
    data = squares()
    names = list(reversed(data.class_names))
    classifier = ContinualClassifier("test_resnet", False, strategy=HeadOnly(), class_names=names, image_size=16)
    with torch.no_grad():
        classifier.network.classifier.bias.fill_(5.0)
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    options = {key: value for key, value in QUICK.items() if key not in ("backbone", "pretrained")}
    run = fit(data, classifier=classifier, name="run", root=tmp_path, **options)
    assert run.results.class_names == names and data.class_names != names
    assert all(torch.equal(value, before[key]) for key, value in classifier.state_dict().items())
    trained = run.classifier()
    assert float(trained.network.classifier.bias.detach().mean()) == pytest.approx(5.0, abs=0.1)
    assert "weights of the lightning_vision" in RunConfig.read(run.path).not_written["model.backbone_weights"]
    assert main(["test", "--ckpt_path", str(run.path)]) == 0


def test_a_classifier_of_other_classes_or_images(tmp_path: Path) -> None:
    options = {key: value for key, value in QUICK.items() if key not in ("backbone", "pretrained")} | {"root": tmp_path}
    other = ContinualClassifier("test_resnet", False, class_names=["cat", "dog"], image_size=16)
    with pytest.raises(
        DataError, match=r"classes that the classifier does not know: 'red', 'green', 'blue', 'grey'. It knows"
    ):
        fit(squares(), classifier=other, **options)
    larger = ContinualClassifier("test_resnet", False, class_names=squares().class_names, image_size=32)
    with pytest.raises(ConfigError, match=r"images of 32 pixels, data.image_size is 16"):
        fit(squares(), classifier=larger, **options)
    with pytest.raises(ConfigError, match="give these to ContinualClassifier"):
        fit(squares(), classifier=other, **options | {"head_hidden": 3})
    assert not list(tmp_path.iterdir())


def test_a_run_that_was_continued_or_overwritten_is_used_as_it_is_now(tmp_path: Path) -> None:
    options = QUICK | {"root": tmp_path, "name": "run", "strategy": HeadOnly()}
    images = torch.stack([squares().image(row) for row in range(4)])
    begun = fit(squares(), stop_after=0, **options)
    opened = open_run(begun.path)
    first = begun.predict(images)["confidence"].tolist()
    assert opened.predict(images)["confidence"].tolist() == pytest.approx(first)
    for change in ({"resume": True}, {"overwrite": True, "seed": 1}):
        now = fit(squares(), **options | change).predict(images)["confidence"].tolist()
        assert now != pytest.approx(first)
        for run in (begun, opened):
            assert run.predict(images)["confidence"].tolist() == pytest.approx(now)


# ---- what YAML cannot hold ---------------------------------------------------------------------------------------------


def test_a_lambda_as_an_optimizer(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = QUICK | {"strategy": "HeadOnly", "root": tmp_path}
    run = fit(squares(), optimizer=lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9), name="lambda", **options)
    fit(squares(), optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.9), name="partial", **options)
    assert results_of(run.path) == results_of(tmp_path / "partial")
    config = RunConfig.read(run.path)
    assert list(config.not_written) == ["model.optimizer"] and "a lambda" in config.not_written["model.optimizer"]
    assert str(config).startswith(
        "# Cannot be repeated from this file: model.optimizer: a lambda; a configuration takes"
    )
    assert yaml.safe_load(str(config)) == config.values
    # Nothing else is run in its place; what needs no optimizer works.
    assert main(["fit", "--config", str(run.path / "config.yaml"), "--run_name=again"]) == 2
    err = capfd.readouterr().err
    assert (
        "cannot be repeated from its configuration:\n  model.optimizer: a lambda; a configuration takes a class" in err
    )
    assert main(["test", "--ckpt_path", str(run.path)]) == 0


def test_a_lambda_resumes(tmp_path: Path) -> None:
    options = QUICK | {"strategy": "HeadOnly", "root": tmp_path, "name": "run"}
    fit(squares(), optimizer=lambda p: torch.optim.SGD(p, lr=0.01), stop_after=0, **options)
    assert fit(squares(), optimizer=lambda p: torch.optim.SGD(p, lr=0.01), resume=True, **options).complete
    with pytest.raises(CheckpointError, match=r"model.optimizer"):
        fit(squares(), optimizer=torch.optim.SGD, resume=True, **options)


def test_a_strategy_of_a_class_inside_a_function_and_data_with_objects(tmp_path: Path) -> None:
    class Mine(HeadOnly):
        """Defined where it cannot be imported."""

    data = squares(train_transforms=[v2.RandomHorizontalFlip()])
    run = fit(data, Mine(), root=tmp_path, **QUICK)
    assert run.path.name == "Mine-InstanceIncremental-seed=0"
    assert run.results.run.strategy.class_path.endswith("<locals>.Mine")
    reasons = RunConfig.read(run.path).not_written
    assert "cannot be imported: test_fit." in reasons["model.strategy"]
    assert "RandomHorizontalFlip" in reasons["data.train_transforms.0"]


def test_callbacks_and_loggers_that_are_objects(tmp_path: Path) -> None:
    seen: list[int] = []
    callback = LambdaCallback(on_train_epoch_end=lambda trainer, module: seen.append(trainer.current_epoch))
    logger = CSVLogger(tmp_path, name="mine")
    trainer = {**TRAINER, "callbacks": [callback], "logger": logger}
    run = fit(squares(), "HeadOnly", name="run", root=tmp_path, **QUICK | {"trainer": trainer})
    assert seen == [0, 0, 0] and list((tmp_path / "mine").rglob("metrics.csv"))
    assert set(RunConfig.read(run.path).not_written) == {"trainer.callbacks.0", "trainer.logger"}


# ---- bad input ---------------------------------------------------------------------------------------------------------


def test_paths_that_are_files(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file is a file, a folder for the run was expected"):
        fit(squares(), name="file", root=tmp_path, **QUICK)
    with pytest.raises(Exception, match=r"Cannot write to .*[Nn]ot a directory"):
        fit(squares(), name="run", root=tmp_path / "file", **QUICK)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "MoveToDato"}, "--model.strategy=MoveToDato"),
        ({"trainer": {**TRAINER, "fast_dev_run": True}}, "--trainer.fast_dev_run=true"),
        ({"energy": {"country": "Atlantis"}}, "--energy.country=Atlantis"),
        ({"strategy": "LwF", "base_epochs": -1}, "--model.base_epochs=-1"),
        ({"optimizer": partial(torch.optim.SGD, lr=-1.0)}, "--model.optimizer={class_path: SGD, init_args: {lr: -1.0}}"),
    ],
)  # fmt: skip
def test_errors_are_those_of_the_command_line(
    options: dict[str, Any], words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError) as raised:
        fit(squares(), name="run", root=tmp_path, **QUICK | options)
    assert capfd.readouterr() == ("", "")
    assert by_command(tmp_path, "run", words) == 2
    assert capfd.readouterr().err.strip().removeprefix("error: ") == str(raised.value)
    assert not (tmp_path / "run").exists()


def test_an_option_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hed_hidden"):
        fit(squares(), hed_hidden=2, root=tmp_path, **QUICK)
    mixed = [LambdaCallback(), {"class_path": "MovingAverage"}]
    with pytest.raises(ConfigError, match=r"trainer.callbacks: expected objects, or plain values .*LambdaCallback"):
        fit(squares(), root=tmp_path, **QUICK | {"trainer": {**TRAINER, "callbacks": mixed}})
    with pytest.raises(ConfigError, match="max_epochs=1 and trainer="):
        fit(squares(), root=tmp_path, **QUICK | {"trainer": {**TRAINER, "max_epochs": 2}})


def test_what_is_no_data_and_no_strategy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data: expected a StreamDataModule, found None"):
        fit(None, root=tmp_path, **QUICK)  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match=r"strategy: expected a lightning_vision.Strategy or the name of one, found 3"
    ):
        fit(squares(), 3, root=tmp_path, **QUICK)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"Unknown datamodule 'Nowhere'"):
        fit("Nowhere", root=tmp_path, **QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"root": None}, r"root: expected a folder, found None"),
        ({"classifier": "resnet18"}, r"classifier: expected a lightning_vision.ContinualClassifier, found 'resnet18'"),
        ({"resume": "yes"}, r"resume: expected True, False or 'auto', found 'yes'"),
        ({"overwrite": "no"}, r"overwrite: expected True or False, found 'no'"),
        ({"progress": "no"}, r"progress: expected True or False, found 'no'"),
        ({"trainer": Trainer}, r"trainer: expected a mapping of options of Lightning's Trainer, .*Trainer"),
        ({"energy": None}, r"energy: expected True, False, or a mapping with country and power_watts, found None"),
        ({"energy": "FRA"}, r"energy: expected True, False, or a mapping with country"),
        (
            {"optimizer": torch.optim.SGD([torch.zeros(1)], lr=0.1)},
            r"optimizer: expected a callable .*functools.partial\(torch.optim.SGD.*found one that was made before, SGD",
        ),
        ({"optimizer": lambda p: p}, r"optimizer .*cannot be built.*expected a torch.optim.Optimizer, found \["),
        ({"name": "x" * 256}, r"--run_name: expected at most 255 bytes, found 256: x"),
    ],
)
def test_arguments_of_other_types(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(squares(), **QUICK | {"name": "run", "root": tmp_path} | options)


def test_several_processes_are_left_to_the_command_line(tmp_path: Path) -> None:
    trainer = {"accelerator": "cpu", "devices": 2}
    with pytest.raises(ConfigError, match=r"ask for 2 processes.* lightning-vision fit --config") as raised:
        fit(squares(), "HeadOnly", name="run", root=tmp_path, **QUICK | {"trainer": trainer})
    file = Path(str(raised.value).split("--config ")[1].splitlines()[0])
    assert main(["fit", "--config", str(file), "--trainer.devices=1"]) == 0
    with pytest.raises(ConfigError, match=r"cannot hold model.optimizer"):
        fit(squares(), optimizer=lambda p: None, root=tmp_path, **QUICK | {"trainer": trainer})


# ---- inside another program --------------------------------------------------------------------------------------------


def test_nothing_is_printed_without_progress_and_lines_with_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fit(squares(), "NearestMean", name="quiet", root=tmp_path, **QUICK)
    assert capfd.readouterr() == ("", "")
    fit(squares(), "NearestMean", name="told", root=tmp_path, **QUICK | {"progress": True})
    out, err = capfd.readouterr()
    assert "experience 3 of 3" in out and "All results are in" in out and err == ""


def test_inside_a_running_event_loop(tmp_path: Path) -> None:
    async def cell() -> Run:
        return fit(squares(), "NearestMean", root=tmp_path, **QUICK)

    assert asyncio.run(cell()).complete


class Interrupts(Callback):
    """Sends Ctrl-C at a batch of an experience."""

    def __init__(self, at: int, times: int = 1) -> None:
        self.at: int = at
        self.times = times

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *batch: Any) -> None:
        if pl_module.experience.index == self.at:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupted_run_resumes(finished: Run, times: int, tmp_path: Path) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    options = QUICK | {"name": "run", "root": tmp_path, "strategy": LwF()}
    interrupts = Interrupts(0, times)
    callbacks = {"trainer": {**TRAINER, "callbacks": [interrupts]}}
    for experience in (0, 1):  # interrupted twice
        interrupts.at = experience
        with pytest.raises(KeyboardInterrupt, match="resume=True continues"):
            fit(squares(), resume=True, **options | callbacks)
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    with pytest.raises(CheckpointError, match=r"trainer.callbacks"):
        fit(squares(), resume=True, **options)
    interrupts.at = 9
    assert fit(squares(), resume=True, **options | callbacks).complete
    found, expected = results_of(tmp_path / "run"), results_of(finished.path)
    assert found["accuracy_matrix"] == expected["accuracy_matrix"]


class RaisesKeyboardInterrupt(Callback):
    """As Ctrl-C does where no handler of ours is: outside the main thread."""

    def on_train_batch_end(self, *_: Any) -> None:
        raise KeyboardInterrupt


def test_a_keyboard_interrupt_of_a_callback_ends_no_process(tmp_path: Path) -> None:
    trainer = {**TRAINER, "callbacks": [RaisesKeyboardInterrupt()]}
    with pytest.raises(KeyboardInterrupt):
        fit(squares(), "HeadOnly", root=tmp_path, **QUICK | {"trainer": trainer})


def test_it_runs_in_a_thread_that_is_not_the_main_one(finished: Run, tmp_path: Path) -> None:
    made: list[Run] = []
    thread = threading.Thread(target=lambda: made.append(fit(squares(), LwF(), root=tmp_path, **QUICK)))
    thread.start()
    thread.join()
    assert results_of(made[0].path) == results_of(finished.path)
