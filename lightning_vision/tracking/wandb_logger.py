"""The logger for Weights & Biases: offline by default, resumed under its own id, without secrets."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from lightning_vision.errors import ConfigError
from lightning_vision.terminal.messages import print_line
from lightning_vision.tracking.loggers import is_rank_zero
from lightning_vision.tracking.stream_position import EXPERIENCE_KEY, STEP_KEY

# Values that are logged once per experience and drawn over experiences instead of steps.
ONCE_AN_EXPERIENCE = ("stream/", "test/", "energy/", "confusion/", "examples/", "explain/")


WANDB_MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}


WANDB_START_SECONDS = 20.0


SECRET_KEY = re.compile(
    r"(api[_-]?key|(secret|private|access)[_-]?key|token|pass(word|wd|phrase)|secret|credentials?)$", re.IGNORECASE
)


MASK = "***"


class StreamWandbLogger(WandbLogger):
    """Lightning's W&B logger, with x axes of the stream and without secrets in the config."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._with_axis = {EXPERIENCE_KEY, STEP_KEY}
        self._hyperparams: dict[str, Any] = {}

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log a row. Metrics, images and tables are drawn over experiences or steps of the stream."""
        for name in metrics:
            if name not in self._with_axis:
                # Full names, because W&B picks an arbitrary pattern if two match a name ("*" matches all).
                self.experiment.define_metric(name, step_metric=_axis(name))
                self._with_axis.add(name)
        # Without a step, which would be logged again under the misleading name trainer/global_step.
        super().log_metrics(metrics)

    @override
    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Add to the config with masked secrets. Each Trainer of a run logs the same ones."""
        added = mask_secrets(dict(params if isinstance(params, Mapping) else vars(params)))
        if added != self._hyperparams:
            self._hyperparams = added
            self.experiment.config.update(added)


def _axis(name: str) -> str:
    return EXPERIENCE_KEY if name.startswith(ONCE_AN_EXPERIENCE) else STEP_KEY


def earlier_run_id(run_dir: Path) -> str | None:
    """The id of the first W&B run in a folder, for resuming; None if there is none."""
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
    """Start a W&B run in `<run_dir>/wandb`, offline by default.

    An online run without a login or a reachable server within half a minute becomes an offline run with a message;
    there are no prompts. Rows are on the disk within a second (before W&B 0.31 in blocks of 32 KB). Only rank 0 starts a run.

    Args:
        run_dir: The run directory; it is created if necessary.
        name: Name of the run.
        group: The comparison of the run.
        job_type: The learning strategy.
        config: The whole config; values under keys that end in token, password, api_key and the like are masked.
        mode: "offline", "online" or "disabled"; None: the environment variable WANDB_MODE, otherwise offline.
        project: W&B's project; the environment variable WANDB_PROJECT overrides it.
        run_id: Id of the run that is resumed (`logger.version` of the first part): `wandb sync` joins the parts.

    Raises:
        ConfigError: The mode is unknown.
    """
    asked = mode or os.environ.get("WANDB_MODE") or "offline"
    if asked not in WANDB_MODES:
        raise ConfigError(
            f"Expected offline, online or disabled as the mode of W&B (option or variable WANDB_MODE), found {asked!r}."
        )
    run = None
    project = os.environ.get("WANDB_PROJECT") or project
    if is_rank_zero():
        import wandb  # 0.7 s

        run_dir.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {
            "dir": run_dir.absolute(),  # its own process may have another working directory
            "project": project,
            "name": name,
            "group": group,
            "job_type": job_type,
            "config": mask_secrets(config or {}),
            "id": run_id,
            "resume": "allow" if run_id else None,
            "reinit": "create_new",  # a second run in one process does not end or join the first
            "settings": wandb.Settings(
                init_timeout=WANDB_START_SECONDS,
                silent=True,
                console="off",  # progress bars would fill the log, and sys.stdout stays as it is
                **written_at_once(wandb.Settings),
            ),
        }
        run = _start_run(WANDB_MODES[asked], options)
    return StreamWandbLogger(experiment=run, save_dir=run_dir, project=project, name=name, id=run_id)


def written_at_once(settings: type[Any]) -> dict[str, Any]:
    """The setting of W&B 0.31 and later by which rows are on the disk within a second; its default loses up to 15 s by a kill.

    Earlier versions do not have it, and refuse what they do not know. They write full blocks of 32 KB.
    """
    return {name: 1.0 for name in settings.model_fields if name == "x_transaction_log_flush_interval"}


def _start_run(mode: str, options: dict[str, Any]) -> Any:
    import wandb

    _list_packages_once()
    if mode == "online":
        reason = _login_problem()
        if not reason:
            try:
                return wandb.init(mode="online", **options)
            except wandb.Error as error:
                reason = _first_line(error)
        print_line(
            f"W&B is offline ({reason}). Upload the run later with: wandb sync {options['dir']}/wandb/offline-run-*"
        )
    options["mode"] = "disabled" if mode == "disabled" else "offline"
    try:
        return wandb.init(**options)
    except Exception:
        if os.environ.pop("WANDB_SERVICE", None) is None:
            raise
        # The address of W&B's helper process, inherited from a program that has ended since: it starts one of our own.
        return wandb.init(**options)


def _list_packages_once() -> None:
    """Let W&B's list of installed packages be made once in a process: it reads hundreds of files for each run."""
    import wandb.util

    list_packages = getattr(wandb.util, "working_set", None)
    if list_packages is not None and not hasattr(list_packages, "cache_info"):
        wandb.util.working_set = functools.cache(lambda: tuple(list_packages()))


def list_packages() -> None:
    """Make W&B's list of installed packages, for the runs of this process and of those that are forked from it."""
    import wandb.util

    _list_packages_once()
    getattr(wandb.util, "working_set", tuple)()


def _login_problem() -> str:
    """Why no online run can be started; empty if one can. Never prompts and takes at most 10 s."""
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
