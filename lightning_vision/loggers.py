"""Loggers of a run over a stream: metrics.csv, and Weights & Biases without account or network."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from lightning_vision.errors import ConfigError
from lightning_vision.row_file import RowFile

if TYPE_CHECKING:
    import pandas as pd

EXPERIENCE_KEY = "stream/experience"
STEP_KEY = "stream/step"
# What is logged once an experience, and drawn over the experiences rather than over the steps.
ONCE_AN_EXPERIENCE = ("stream/", "test/", "energy/", "confusion/", "examples/", "explain/")
WANDB_MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
WANDB_START_SECONDS = 20.0
SECRET_KEY = re.compile(
    r"(api[_-]?key|(secret|private|access)[_-]?key|token|pass(word|wd|phrase)|secret|credentials?)$", re.IGNORECASE
)
MASK = "***"


@dataclass
class StreamPosition:
    """Where in the stream a run is: changed by the run, read by every logger that follows it.

    Args:
        experience: Number of the experience that is being learned.
        step_offset: Steps of all experiences before it: each has its own Trainer, whose global_step begins at 0.
    """

    experience: int = 0
    step_offset: int = 0


class _StreamLog:
    """Stands before a logger's `log_metrics`."""

    def __init__(self, log: Callable[..., None], position: StreamPosition) -> None:
        self.log = log
        self.position = position
        self.last_step = 0

    def __call__(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        # Lightning logs a training epoch's metrics one step before the validation's that ran within it.
        self.last_step = max(self.last_step, self.position.step_offset + (step or 0))
        where = {EXPERIENCE_KEY: float(self.position.experience), STEP_KEY: self.last_step}
        self.log({**metrics, **where}, self.last_step)


def follow_stream(logger: Logger, position: StreamPosition) -> None:
    """Makes a logger count its steps over the whole stream; works with any Lightning logger.

    `log_metrics(metrics, step)` then adds `position.step_offset` to the step, and "stream/experience" and "stream/step"
    to the metrics. The step never runs backwards: an earlier one is logged at the last, and so is one that is None.
    A second call for the same logger gives it another position.
    """
    log = vars(logger).get("log_metrics")
    if isinstance(log, _StreamLog):
        log.position = position
    else:
        vars(logger)["log_metrics"] = _StreamLog(logger.log_metrics, position)


class MetricsCSV(Logger):
    """Writes metrics.csv: a row for each step of each experience, at once, so that a kill -9 takes nothing.

    Unlike Lightning's CSVLogger it goes on with an existing file, and deletes none.

    Args:
        run_directory: Where metrics.csv is written; made if need be.
    """

    def __init__(self, run_directory: Path) -> None:
        super().__init__()
        self._directory = Path(run_directory)
        self._rows = RowFile(self._directory / "metrics.csv")

    @property
    @override
    def name(self) -> str:
        """Name of the run directory."""
        return self._directory.name

    @property
    @override
    def version(self) -> str:
        """Empty: a run directory holds one run."""
        return ""

    @property
    @override
    def save_dir(self) -> str:
        """The run directory."""
        return str(self._directory)

    @override
    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Writes nothing: config.yaml has them."""

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Writes a row, or adds to the last one if that has the same step and experience.

        Raises:
            TrainingError: The file cannot be written.
        """
        row = {"step": step, **{name: _scalar(value) for name, value in metrics.items()}}
        last = self._rows.last
        same_experience = last.get(EXPERIENCE_KEY, "") == str(row.get(EXPERIENCE_KEY, ""))
        if last and last.get("step") == str(step) and same_experience:
            self._rows.update_last(row)
        else:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._rows.append(row)

    @rank_zero_only
    def resume_at(self, step: int) -> None:
        """Drops the rows beyond the stream step of the checkpoint from which the run goes on."""
        self._rows.keep(lambda row: int(row.get("step", 0)) <= step)


def _scalar(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


class StreamWandbLogger(WandbLogger):
    """Lightning's W&B logger, whose charts have the stream's own x axes and whose config keeps no secrets."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._with_axis = {EXPERIENCE_KEY, STEP_KEY}

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Logs a row. Metrics, images and tables are drawn over the experiences or over the stream's steps."""
        for name in metrics:
            if name not in self._with_axis:
                # By full names: where two patterns fit a name ("*" fits all), W&B takes either, as chance has it.
                self.experiment.define_metric(name, step_metric=_axis(name))
                self._with_axis.add(name)
        # Without a step: it would be logged once more as trainer/global_step, whose name says another thing.
        super().log_metrics(metrics)

    @override
    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Adds to the config, secrets masked."""
        self.experiment.config.update(mask_secrets(dict(params if isinstance(params, Mapping) else vars(params))))


def _axis(name: str) -> str:
    return EXPERIENCE_KEY if name.startswith(ONCE_AN_EXPERIENCE) else STEP_KEY


def earlier_run_id(run_dir: Path) -> str | None:
    """The id of the first W&B run below a folder, to be gone on with; None if there is none."""
    first = min(run_dir.glob("wandb/*run-*"), default=None)
    return None if first is None else first.name.rsplit("-", 1)[-1]


def make_wandb_logger(
    run_dir: Path,
    name: str,
    group: str | None = None,
    job_type: str | None = None,
    config: Mapping[str, Any] | None = None,
    mode: str | None = None,
    project: str = "lightning_vision",
    run_id: str | None = None,
) -> StreamWandbLogger:
    """Starts a W&B run below `<run_dir>/wandb`, offline unless asked otherwise.

    An online run that finds no login or no server within half a minute becomes an offline one, with a printed line;
    nothing is ever asked. Rows reach the disk within a second. On other ranks than 0 no run is started.

    Args:
        run_dir: The run directory; made if need be.
        name: Name of the run.
        group: The comparison that it belongs to.
        job_type: Its learning strategy.
        config: The whole config; values under keys that end in token, password, api_key and the like are masked.
        mode: "offline", "online" or "disabled"; None: the environment variable WANDB_MODE, else offline.
        project: W&B's project; the environment variable WANDB_PROJECT goes before it.
        run_id: Id of the run that is resumed (`logger.version` of the first part): `wandb sync` joins the parts.

    Raises:
        ConfigError: The mode is not known.
    """
    asked = mode or os.environ.get("WANDB_MODE") or "offline"
    if asked not in WANDB_MODES:
        raise ConfigError(
            f"Expected offline, online or disabled as the mode of W&B (option or variable WANDB_MODE), found {asked!r}."
        )
    run = None
    project = os.environ.get("WANDB_PROJECT") or project
    if _is_rank_zero():
        import wandb  # 0.7 s

        run_dir.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {
            "dir": run_dir,
            "project": project,
            "name": name,
            "group": group,
            "job_type": job_type,
            "config": mask_secrets(config or {}),
            "id": run_id,
            "resume": "allow" if run_id else None,
            "reinit": "create_new",  # a second run in one process does not end or join the first
            "settings": wandb.Settings(
                x_transaction_log_flush_interval=1.0,  # the default loses up to 15 s of rows by a kill
                init_timeout=WANDB_START_SECONDS,
                silent=True,
                console="off",  # progress bars would fill the log, and sys.stdout stays as it is
            ),
        }
        run = _start_run(WANDB_MODES[asked], options)
    return StreamWandbLogger(experiment=run, save_dir=run_dir, project=project, name=name, id=run_id)


def _is_rank_zero() -> bool:
    return getattr(rank_zero_only, "rank", 0) == 0


def _start_run(mode: str, options: dict[str, Any]) -> Any:
    import wandb

    if mode == "online":
        reason = _login_problem()
        if not reason:
            try:
                return wandb.init(mode="online", **options)
            except wandb.Error as error:
                reason = _first_line(error)
        print(f"W&B stays offline ({reason}); send the run later with: wandb sync {options['dir']}/wandb/offline-run-*")
    options["mode"] = "disabled" if mode == "disabled" else "offline"
    try:
        return wandb.init(**options)
    except Exception:
        if os.environ.pop("WANDB_SERVICE", None) is None:
            raise
        # The address of W&B's helper process, inherited from a program that has ended since: it starts one of our own.
        return wandb.init(**options)


def _login_problem() -> str:
    """Why no online run can be started, empty if one can; asks nothing and takes 10 s at most."""
    import wandb

    settings = wandb.setup().settings
    was_silent, settings.silent = settings.silent, True
    try:
        return "" if wandb.login(prompt=False, verify=True) else "no login found: run wandb login or set WANDB_API_KEY"
    except wandb.Error as error:
        return _first_line(error)
    finally:
        settings.silent = was_silent


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def mask_secrets(config: Any) -> Any:
    """The config as plain dicts, lists and scalars, with every secret's value replaced by ***.

    A secret is a text or a number under a key that ends in api_key, token, password, secret or the like.
    """
    if isinstance(config, Mapping):
        return {str(key): MASK if _is_secret(str(key), value) else mask_secrets(value) for key, value in config.items()}
    if isinstance(config, list | tuple | set | frozenset):
        return [mask_secrets(value) for value in config]
    return config if config is None or isinstance(config, bool | int | float | str) else str(config)


def _is_secret(key: str, value: Any) -> bool:
    return SECRET_KEY.search(key) is not None and value is not None and not isinstance(value, bool | Mapping)


@rank_zero_only
def log_experience(
    loggers: Iterable[Logger],
    position: StreamPosition,
    scalars: Mapping[str, float | None],
    images: Mapping[str, Path] | None = None,
    tables: Mapping[str, "pd.DataFrame"] | None = None,
    artifacts: Mapping[str, Path] | None = None,
) -> None:
    """Logs what is known at the end of an experience: one row at the last step.

    Args:
        loggers: The run's loggers; each is made to follow `position`.
        position: The experience that ended.
        scalars: By key; those that are None are left out.
        images: Picture files by key; only W&B takes them, as it takes the following.
        tables: Tables by key.
        artifacts: Files by key, logged as artifacts of the run ("confusion/matrix": `<run>-confusion-matrix`).
    """
    known = {key: value for key, value in scalars.items() if value is not None}
    for logger in loggers:
        follow_stream(logger, position)
        media: dict[str, Any] = {}
        if isinstance(logger, WandbLogger):
            import wandb

            media |= {key: wandb.Image(str(path)) for key, path in (images or {}).items()}
            media |= {key: wandb.Table(dataframe=table) for key, table in (tables or {}).items()}
            for key, path in (artifacts or {}).items():
                run = logger.experiment
                artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", f"{run.name or run.id}-{key}"), type="result")
                artifact.add_file(str(path))
                run.log_artifact(artifact)
        logger.log_metrics(known | media)


def close_loggers(loggers: Iterable[Logger]) -> None:
    """Ends the W&B runs among the loggers, so that all is on the disk and the next run of the process is its own."""
    for logger in loggers:
        if isinstance(logger, WandbLogger) and _is_rank_zero():
            logger.experiment.finish()
