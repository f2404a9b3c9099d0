"""A run as an object: its results, and methods that use its classifier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console
from rich.markup import escape

from lightning_vision.api.at_work import at_work
from lightning_vision.api.checked_options import checked_options
from lightning_vision.api.last_checkpoint import LastCheckpoint
from lightning_vision.api.run_config import RunConfig
from lightning_vision.api.tested_run import RunTest
from lightning_vision.drawing.lazy_figures import LazyFigures
from lightning_vision.errors import CheckpointError, ConfigError
from lightning_vision.explanation.command import Explained, explain
from lightning_vision.explanation.options import ExplainOptions
from lightning_vision.exporting.command import export
from lightning_vision.exporting.formats import Name
from lightning_vision.exporting.model_card import Exported
from lightning_vision.exporting.options import ExportOptions
from lightning_vision.learning.checkpoints import find_checkpoint
from lightning_vision.learning.hub_run import is_from_hub
from lightning_vision.program.push_run import Pushed, push_run
from lightning_vision.report import run_tables
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.schema import Results, read_results
from lightning_vision.run.checkpoint_tasks import test
from lightning_vision.run.run_figures import figures_of
from lightning_vision.run.summary import print_summary
from lightning_vision.storage.links_out import refuse_links_out
from lightning_vision.storage.steady_path import SteadyPath
from lightning_vision.terminal.html_view import html_view
from lightning_vision.terminal.wording import plural, printable
from lightning_vision.trust.command import assess
from lightning_vision.trust.options import TrustOptions
from lightning_vision.trust.predict_images import predict_images

if TYPE_CHECKING:
    from lightning_vision.data.datamodule import StreamDataModule
    from lightning_vision.learning.classifier import ContinualClassifier
    from lightning_vision.learning.strategy import Strategy

NETWORK = (
    *("backbone", "head_hidden", "head_dropout", "drop_rate", "drop_path_rate", "channels_last"),
    *("pixel_mean", "pixel_std"),
)
"""Options of the classifier that a run takes over from the run from which it starts."""


class Run:
    """One learning strategy on one stream with one seed, finished or not; ``fit`` and ``open_run`` return it.

    Tables and figures are read from the run directory at each access, so that they show the finished experiences of a run
    that is still learning. Nothing in the directory is executed.

    Args:
        path: The run directory.
        classifier: The trained classifier, if the run was made in this process.
        datamodule: Its data, set up.
        config: Its options; None: those of its config.yaml.
        trust_run: See ``open_run``.
        fit: The function that ``learn`` calls.
        data_root: See ``open_run``.

    Raises:
        CheckpointError: There is no run.
        ConfigError: Its files are links to other places.
    """

    def __init__(
        self,
        path: Path,
        *,
        classifier: ContinualClassifier | None = None,
        datamodule: StreamDataModule | None = None,
        config: RunConfig | None = None,
        trust_run: bool = False,
        fit: Callable[..., Run] | None = None,
        data_root: Path | None = None,
    ) -> None:
        self._place, self._config, self._fit = SteadyPath(path), config, fit
        self._trusted = trust_run or classifier is not None
        if not self._directory.exists():
            raise CheckpointError(f"Expected a run directory (with config.yaml and results.json), {_found(self.path)}.")
        if not self._trusted:
            refuse_links_out(self.path)
        learned = None if classifier is None or datamodule is None else (classifier, datamodule)
        self._checkpoint = LastCheckpoint(self._place, learned, self._trusted, data_root)

    @property
    def path(self) -> Path:
        """The run directory, as it was given; absolute once the working directory is another one."""
        return self._place.path

    @property
    def _directory(self) -> RunDirectory:
        return RunDirectory(self.path)

    @property
    def results(self) -> Results:
        """The fields of results.json as attributes, after the last finished experience; docs/results.md describes them.

        Raises:
            CheckpointError: No experience is finished yet, or the file is damaged.
        """
        if not self._directory.results.is_file():
            raise CheckpointError(
                f"Expected the results of at least one finished experience in {self.path}, found none yet. Resume the run: "
                "the same fit with resume=True, or its command with --ckpt_path last."
            )
        return read_results(self._directory.results)

    @property
    def config(self) -> RunConfig:
        """The options of the run: ``str()`` is the YAML that repeats it, ``not_written`` names the parts that it cannot hold."""
        return self._config or RunConfig.read(self.path)

    @property
    def complete(self) -> bool:
        """Whether all experiences of the stream are finished."""
        return self._directory.results.is_file() and self.results.run.complete

    @property
    def accuracy_matrix(self) -> pd.DataFrame:
        """Accuracy (t, T): a row after each finished experience, a column for each test part; NaN where it is not defined."""
        return run_tables.accuracy_matrix(self.results)

    @property
    def per_class(self) -> pd.DataFrame:
        """A row for each class on the test set: support (images), recall, precision, F1, recall before, change in recall."""
        return run_tables.class_table(self.results)

    @property
    def confusion(self) -> pd.DataFrame:
        """Counts (C, C) on the test set: a row for each true class, a column for each predicted one."""
        return run_tables.confusion_table(self.results)

    @property
    def curves(self) -> pd.DataFrame:
        """A row for each epoch, counted through the stream: experience, training and validation loss and accuracy."""
        return run_tables.curve_table(self._directory)

    @property
    def predictions(self) -> pd.DataFrame:
        """A row for each test image after the last finished experience: true and predicted class, confidence, correct."""
        return run_tables.prediction_table(self._directory, self.results)

    @property
    def figures(self) -> LazyFigures:
        """Matplotlib Figures by name (confusion_matrix, accuracy_matrix, curves, sweep), drawn at each access."""
        results = self.results
        return LazyFigures(figures_of(results, run_tables.experience_names(results), self._directory))

    def classifier(self) -> ContinualClassifier:
        """The trained classifier in evaluation mode, on the CPU; see ``ContinualClassifier.forward``.

        Each call reads it again, so that the run's predictions do not change with it, unless ``config.not_written`` names parts:
        then it is that of the run.

        Raises:
            UserError: See ``predict``.
        """
        with at_work():
            own, images = not self.config.not_written, not self._directory.results.is_file()
            return self._checkpoint.open(own=own, images=images).model.cpu().eval()

    def predict(self, images: Any, *, every: int = 1) -> pd.DataFrame:
        """Predict images in the same way as the run's test images, with its evaluation transform.

        Args:
            images: A folder or an archive, image files, patterns such as ``photos/*.jpg``, videos, text files that list these, or a
                list of them; or uint8 arrays (N, H, W, 3) or (H, W, 3), uint8 tensors (N, 3, H, W) or (3, H, W), PIL images, or
                a DataLoader of such tensors; of any size, before any normalisation.
            every: Predict each ``every``-th frame of videos, from the first on.

        Returns:
            A row for each image: ``path`` as given (``number`` for images from memory), ``frame`` and ``seconds`` if there are
            videos, ``predicted``, ``confidence`` (the probability of
            the predicted class), ``rejected``, and ``probability/<class>``. Probabilities and rejection use the temperature
            and the threshold in the checkpoint, if ``test(calibrate=True, coverage=...)`` has fitted them.

        Raises:
            DataError: The images cannot be used.
            CheckpointError: No experience is finished, or the checkpoint does not fit the run's options.
            ConfigError: The run's configuration names classes that are not registered, and ``trust_run`` is False.
        """
        with at_work():
            return predict_images(self._checkpoint.open(images=not self._directory.results.is_file()), images, every)

    def test(
        self,
        *,
        ood_data: str | list[str] | None = None,
        new_images: str | None = None,
        calibrate: bool = False,
        coverage: float | None = None,
        risk: float | None = None,
        output: str | None = None,
    ) -> RunTest:
        """Evaluate on the test set, rewrite the figures of the run's last evaluation, and assess trust if options ask for it.

        Args:
            ood_data: Out-of-distribution images; see ``TrustOptions``, also for the following.
            new_images: New images to compare with the training set.
            calibrate: Fit a temperature on validation images and store it in the checkpoint.
            coverage: Share of the images to answer; fits the threshold.
            risk: Share of errors allowed among the answers, instead of ``coverage``.
            output: The output folder.

        Raises:
            UserError: See ``predict``; or an option cannot be used.
        """
        given = {"calibrate": calibrate, "coverage": coverage, "risk": risk, "output": output}
        asked = checked_options(TrustOptions, {"ood_data": ood_data, "new_images": new_images, **given})
        asked.check()
        with at_work():
            checkpoint = self._checkpoint.open(anew=not self.config.not_written)
            with self._directory.held(f"lightning_vision.open_run({str(self.path)!r}).test()"):
                tested = test(checkpoint)
            assessed = assess(checkpoint, asked) if asked.asked else None
            self._checkpoint.keep()  # into which a calibration was written, beside the same weights
        return RunTest(tested.scores, tested.lines, assessed)

    def explain(self, n: int = 12, **options: Any) -> Explained:
        """Show what the classifier looks at when it is wrong: class-activation maps, a page and galleries.

        Args:
            n: Number of the most confident errors to show.
            **options: Fields of ``ExplainOptions``: ``method``, ``split``, ``correct``, ``measured``, ``output``, ...

        Raises:
            UserError: See ``predict``; or an option cannot be used.
        """
        asked = checked_options(ExplainOptions, {"errors": n, **options})
        with at_work():
            return explain(self._checkpoint.open(evaluates=False), asked)

    def export(self, format: Name = "onnx", **options: Any) -> Exported:
        """Export the classifier for other programs, check it against the original, and write a model card.

        Args:
            format: onnx, pt2 (torch.export) or pte (ExecuTorch).
            **options: Fields of ``ExportOptions``: ``output``, ``int8``, ``check_images``, ...

        Raises:
            UserError: See ``predict``; or an option cannot be used.
        """
        asked = checked_options(ExportOptions, {"format": format, **options})
        asked.check()
        with at_work():
            exported = export(self._checkpoint.open(evaluates=False), asked)
        if exported is None:
            raise ConfigError("export: expected a call in the first process, found another process.")
        return exported

    def learn(self, data: StreamDataModule, strategy: Strategy | str | None = None, **options: Any) -> Run:
        """Learn new data, starting from the end of this run, in a new run beside it; this one is not changed.

        Args:
            data: The new data. Its first experience counts as the base, which is not trained again, unless its stream has
                ``base_fraction=0``.
            strategy: The learning strategy. It continues with this run's state if class and options are the same.
            **options: Options of ``fit``. The network is that of this run.

        Raises:
            CheckpointError: No experience is finished, or the network does not fit.
            UserError: See ``fit``.
        """
        if self._fit is None:
            raise ConfigError(
                f"learn: expected a run from fit or open_run. Use open_run({str(self.path)!r}).learn(...)."
            )
        find_checkpoint(self.path)
        model = self.config.values.get("model") or {}
        same = {key: model[key] for key in NETWORK if key in model}
        start = {"pretrained": False, "base_checkpoint": str(self.path)}
        if not is_from_hub(self.path):  # whose folder is the cache's
            start["root"] = self.path.parent
        return self._fit(data, strategy, **{**same, **start, **options})

    def push(self, name: str, *, private: bool | None = None) -> Pushed:
        """Put the run into a repository of the Hugging Face Hub, from which ``open_run("hf://owner/name")`` opens it.

        Args:
            name: The repository, ``owner/name``; it is created if it does not exist.
            private: Whether a new repository is private; None: as the account's settings say.

        Raises:
            CheckpointError: No experience is finished.
            ConfigError: The name is malformed, nobody is logged in, or the login may not write there.
            TrainingError: The Hub cannot be reached.
        """
        with at_work():
            return push_run(self.path, name, private=private, trust_run=self._trusted)

    def __fspath__(self) -> str:
        """The run directory, so that a run can be given where a path is expected."""
        return str(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}: {self._state()})"

    def _repr_html_(self) -> str:
        """The tables that the terminal prints at the end of a run."""

        def draw(console: Console) -> None:
            if self._directory.results.is_file():
                print_summary(self.results, console)
            console.print(escape(printable(f"{self.path}: {self._state()}")), soft_wrap=True)

        return html_view(draw)

    def _state(self) -> str:
        if not self._directory.results.is_file():
            return "unfinished, no experience is finished yet"
        results = self.results
        if results.run.complete:
            return f"finished, {plural(results.run.experiences, 'experience')}"
        return f"unfinished, {len(results.experiences)} of {plural(results.run.experiences, 'experience')}; resume=True finishes it"


def _found(path: Path) -> str:
    """A description of what the path is, if it is not a run."""
    if path.is_dir():
        return f"found neither file in {path}"
    return f"found the file {path}" if path.exists() else f"found nothing at {path}"
