"""The runs of a learning strategy, each made on first access."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from torch import Tensor

from lightning_vision.data import scenarios
from lightning_vision.data.batch import Batch
from lightning_vision.learning.checkpoints import load_into, read_checkpoint
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.served_data import data_for
from lightning_vision.learning.strategy import Strategy
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.schema import Results, read_results
from lightning_vision.testing.programs import run_here, run_on_two_ranks
from lightning_vision.testing.snapshots import Snapshots
from lightning_vision.testing.squares import ColouredSquares

COMMON: dict[str, Any] = {
    "seed_everything": 0,
    "keep_checkpoints": "all",
    "energy": {"enabled": False},
    "wandb": {"mode": "disabled"},
    "trainer": {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 2,
        "enable_progress_bar": False,
        "callbacks": [{"class_path": "lightning_vision.testing.snapshots.Snapshots"}],
    },
    "model": {
        "backbone": "test_vit",  # without batch norm, so that two ranks do what one does
        "pretrained": False,
        "restore_best": False,
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.02, "momentum": 0.9}},
    },
}
# Data and stream for each scenario.
DATA: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # 17 training images a class: a last batch of one, which leaves the second of two ranks without any.
    "ClassIncremental": ({"per_class": 28}, {"experiences": 3, "base_classes": 2}),
    "InstanceIncremental": ({"per_class": 28}, {"experiences": 3, "base_fraction": 0.4}),
    "DomainIncremental": ({"per_class": 12}, {"by": "place"}),
    # Two images are the fewest that an experience can have. Red is seen again.
    "FromColumn": (
        {
            "classes": ["red", "green", "blue"],
            "arrivals": [{"red": 6, "green": 6}, {"blue": 2}, {"red": 4, "blue": 4}],
        },
        {"column": "arrival"},
    ),
    "Joint": ({"per_class": 12}, {}),
}


@dataclass(frozen=True)
class Run:
    """One run and what became of it."""

    path: Path
    scenario: str
    data: Mapping[str, Any]
    """Options of the data, the stream's under ``stream``."""
    backbone: str
    code: int
    said: str

    @property
    def ended_well(self) -> bool:
        """It was run to its end."""
        return self.code == 0

    @property
    def last_words(self) -> str:
        """The end of what it wrote, where an error would be."""
        return self.said.strip()[-1500:]

    @property
    def finished(self) -> int:
        """How many experiences were finished."""
        return len(RunDirectory(self.path).all_finished())

    @property
    def results(self) -> Results:
        """What it found."""
        return read_results(RunDirectory(self.path).results)

    @property
    def predictions(self) -> dict[str, Any]:
        """The arrays of predictions.npz."""
        with np.load(RunDirectory(self.path).predictions) as file:
            return {key: file[key] for key in file.files}

    def state(self, experience: int) -> dict[str, Tensor]:
        """The checkpoint's tensors after an experience."""
        found: dict[str, Tensor] = read_checkpoint(RunDirectory(self.path).finished(experience))["state_dict"]
        return found


class Trial:
    """A learning strategy and its runs.

    Args:
        strategy: Its class.
        options: Of its constructor.
        folder: Where the runs are kept; new.
        base: A run of two of the four classes, to start from.
        arguments: Further options of the command line.
        needs_vit: Its backbone is always a ViT, on images of four patches.
    """

    def __init__(
        self,
        strategy: type[Strategy],
        options: Mapping[str, Any],
        folder: Path,
        base: Run | None,
        arguments: Sequence[str] = (),
        needs_vit: bool = False,
    ) -> None:
        self.cls, self.options, self.folder = strategy, dict(options), folder
        self.base, self.arguments, self.needs_vit = base, arguments, needs_vit

    @property
    def scenario(self) -> str:
        """The scenario of the runs that may be in any: the first that the strategy declares."""
        return next(name for name in DATA if name in self.cls.scenarios)

    def build(self) -> Strategy:
        """The strategy, new."""
        return self.cls(**self.options)

    # ---- runs ------------------------------------------------------------------------------------------------------

    @cached_property
    def whole(self) -> Run:
        """Never interrupted; three experiences if the scenario has so many."""
        Snapshots.folder = self.folder / "snapshots"
        try:
            return self.fit("whole", self.scenario, **self._untrained_base())
        finally:
            Snapshots.folder = None

    @cached_property
    def between(self) -> Run | None:
        """Killed after experience 1 and resumed."""
        return self._resumed("between")

    @cached_property
    def within(self) -> Run | None:
        """Killed in the middle of experience 2 and resumed."""
        return self._resumed("within")

    @cached_property
    def reseeded(self) -> Run:
        """One increment with another seed, from the base of ``whole``."""
        base = RunDirectory(self.whole.path).finished(0)
        run = {"seed_everything": 1, "stop_after": 1}
        return self.fit("reseeded", self.scenario, model={"base_checkpoint": str(base)}, run=run)

    @cached_property
    def ranks(self) -> Run:
        """On two ranks, each with half of every batch."""
        trainer = {"devices": 2, "strategy": "ddp"}
        return self.fit("ranks", self.scenario, {"batch_size": 4}, trainer=trainer, **self._untrained_base())

    @cached_property
    def many(self) -> Run:
        """Many experiences of all classes, from a base that knows two of the four if there is one."""
        stream = {"experiences": 4, "base_fraction": 0.0 if self.base else 0.2}
        start = {"base_checkpoint": str(self.base.path)} if self.base else {}
        return self.fit("many", "InstanceIncremental", {}, stream, model=start, trainer={"max_epochs": 1})

    @cached_property
    def few(self) -> Run:
        """Experiences of 12, 2 and 8 images, batches of one; experience 1 has nothing held out if that may be."""
        data = {"batch_size": 1, "least_held_out": int(self.build().needs_validation)}
        return self.fit("few", "FromColumn", data, trainer={"max_epochs": 1})

    @cached_property
    def joint(self) -> Run:
        """All data at once."""
        return self.fit("joint", "Joint")

    @cached_property
    def half(self) -> Run:
        """As ``joint``, or ``whole`` where the strategy cannot do that, in mixed precision."""
        scenario = "Joint" if "Joint" in self.cls.scenarios else self.scenario
        return self.fit("half", scenario, trainer={"precision": "bf16-mixed"}, **self._untrained_base(scenario))

    @cached_property
    def domains(self) -> Run:
        """Two domains, on a backbone with batch norm if it can be any."""
        backbone = "test_vit" if self.needs_vit else "test_resnet"
        return self.fit("domains", "DomainIncremental", model={"backbone": backbone}, trainer={"max_epochs": 1})

    def _untrained_base(self, scenario: str | None = None) -> dict[str, Any]:
        """Where no class is new to an increment, what it learns shows only if the base has learned nothing."""
        scenario = scenario or self.scenario
        return {} if scenario in ("ClassIncremental", "Joint") else {"model": {"base_epochs": 0}}

    def _resumed(self, which: str) -> Run | None:
        place = self.folder / "snapshots" / which
        if not self.whole.ended_well or not place.is_dir():
            return None
        words = [*self._words("whole"), f"--trainer.default_root_dir={place}", "--ckpt_path=last"]
        code, said = run_here(words)
        return replace(self.whole, path=place / "whole", code=code, said=said)

    def fit(
        self,
        name: str,
        scenario: str,
        data: Mapping[str, Any] | None = None,
        stream: Mapping[str, Any] | None = None,
        model: Mapping[str, Any] | None = None,
        trainer: Mapping[str, Any] | None = None,
        run: Mapping[str, Any] | None = None,
    ) -> Run:
        """Run the program with a configuration of its own.

        Args:
            name: The run directory's.
            scenario: By class name.
            data: Options of the data beside those of the scenario.
            stream: Options of the stream in place of the scenario's.
            model: Options of the model.
            trainer: Options of the trainer.
            run: Options of the run itself.
        """
        usual, usual_stream = DATA[scenario]
        squares = {
            "batch_size": 8,
            "noise": 20.0,
            **({"image_size": 32} if self.needs_vit else {}),
            **usual,
            **(data or {}),
        }
        cut = {**usual_stream, **(stream or {})}
        config = {**copy.deepcopy(COMMON), **(run or {})}
        config["trainer"] |= {"default_root_dir": str(self.folder), **(trainer or {})}
        config["model"] |= {
            "strategy": {"class_path": dotted_path(self.cls), "init_args": self.options},
            **(model or {}),
        }
        config["data"] = {
            "class_path": dotted_path(ColouredSquares),
            "init_args": {**squares, "stream": {"class_path": scenario, "init_args": cut}},
        }
        self._config(name).write_text(yaml.safe_dump(config), encoding="utf-8")
        several = config["trainer"]["devices"] > 1
        log = self.folder / f"{name}.log"
        code, said = run_on_two_ranks(self._words(name), log) if several else run_here(self._words(name))
        return Run(self.folder / name, scenario, {**squares, "stream": cut}, config["model"]["backbone"], code, said)

    def _config(self, name: str) -> Path:
        return self.folder / f"{name}.yaml"

    def _words(self, name: str) -> list[str]:
        return ["fit", f"--config={self._config(name)}", f"--run_name={name}", *self.arguments]

    # ---- what a run left -------------------------------------------------------------------------------------------

    def load(self, run: Run, experience: int) -> tuple[ContinualClassifier, ColouredSquares]:
        """A new classifier with a new strategy, brought to the end of an experience (-1: the start), and its data."""
        stream = getattr(scenarios, run.scenario)(**run.data["stream"])
        data = ColouredSquares(**{**run.data, "stream": stream})
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Attribute 'strategy' is an instance of")  # it is not saved
            model = ContinualClassifier(
                backbone=run.backbone,
                pretrained=False,
                strategy=self.build(),
                class_names=data.class_names,
                image_size=data.image_size,
            )
        path = RunDirectory(run.path).finished(max(0, experience))
        checkpoint = read_checkpoint(path)
        model.seed = checkpoint["lightning_vision"]["seed"]
        if experience >= 0:
            load_into(model, data.stream, checkpoint, path)
        model.eval()
        return model, data


def dotted_path(cls: type) -> str:
    """How a configuration names a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


class TrainingBatches(list[Batch]):
    """The batches that a strategy is given while it learns an experience, as they are on the device; see ``ExperienceData``."""

    def __init__(self, batches: Iterable[Batch], model: ContinualClassifier, data: ColouredSquares) -> None:
        super().__init__(model.on_after_batch_transfer(batch, 0) for batch in batches)
        self.model, self.data = model, data

    def of(self, rows: Tensor) -> TrainingBatches:
        """The batches of other rows (M,), with the evaluation transform."""
        return TrainingBatches(self.data.ordered_loader(0, rows=rows.numpy()), self.model, self.data)


def training_batches(model: ContinualClassifier, data: ColouredSquares, experience: int) -> TrainingBatches:
    """The batches that a strategy is given while it learns an experience, as they are on the device."""
    learner = model.strategy
    data.enter(experience, 0, **data_for(learner, data.stream[experience]))
    return TrainingBatches(data.train_dataloader(), model, data)


def test_batches(model: ContinualClassifier, data: ColouredSquares) -> list[Batch]:
    """The images of the test set, as they are on the device."""
    return [model.on_after_batch_transfer(batch, 0) for batch in data.evaluation_loader("test")]


def small_base(folders: pytest.TempPathFactory, needs_vit: bool = False) -> Run:
    """A run of the red and the green squares, made once a session."""
    folder = folders.getbasetemp() / f"lightning_vision_base{'_vit' if needs_vit else ''}"
    trial = Trial(Strategy, {}, folder, None, (), needs_vit)
    if folder.is_dir():
        return Run(folder / "base", "Joint", {}, "", 0, "")
    folder.mkdir()
    run = trial.fit("base", "Joint", {"classes": ["red", "green"]}, trainer={"max_epochs": 1})
    if not run.ended_well:
        raise RuntimeError(f"The kit's own base could not be trained:\n{run.last_words}")
    return run
