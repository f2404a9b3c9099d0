"""``fit``: builds a run from its options, and prints its results."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser

from lightning_vision.class_path import DEFAULT_STRATEGY, short_name
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import ConfigError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.results.not_evaluated import NOT_EVALUATED, SENTENCE, misses_test
from lightning_vision.results.run_directory import safe_name
from lightning_vision.results.same_options import Kept
from lightning_vision.run.launch import RunLaunch
from lightning_vision.run.run_request import RunRequest
from lightning_vision.storage.plain_yaml import load_yaml
from lightning_vision.terminal.first_rank import is_first
from lightning_vision.tracking.options import EnergyOptions, WandbOptions

NOT_REPEATED: dict[str, Any] = {"ckpt_path": None, "overwrite": False, "trust_run": False}
"""Options of which config.yaml has another value than the run."""


def run_request(config: Namespace, parser: LightningArgumentParser, words: list[str]) -> RunRequest:
    """Build the request for a run from the options of ``fit``.

    Args:
        config: The options, parsed.
        parser: The one that parsed them.
        words: The command line without the program's name.

    Raises:
        ConfigError: An option cannot be used.
    """
    ckpt_path = config.get("ckpt_path")
    if ckpt_path not in (None, "last"):
        raise ConfigError(
            f"fit --ckpt_path: expected 'last' (resume this run), found {ckpt_path!r}. To start from another run's "
            "weights, use model.base_checkpoint."
        )
    text = _config_text(parser, config)
    asked = {key: config[key] for key in NOT_REPEATED}
    plain_config: dict[str, Any] = {**load_yaml(text), **asked}
    return RunRequest(
        name=run_name(plain_config),
        root=Path(config.trainer.default_root_dir),
        config=plain_config,
        config_text=text,
        seed=int(config.seed_everything),
        resume=ckpt_path == "last",
        overwrite=bool(config.overwrite),
        keep_checkpoints=config.keep_checkpoints,
        stop_after=config.stop_after,
        budget=config.budget,
        tune_on=config.tune_on,
        probe=bool(config.probe),
        trust_run=bool(config.trust_run),
        energy=EnergyOptions(**config.energy.as_dict()),
        wandb=WandbOptions(**config.wandb.as_dict()),
        progress=config.trainer.enable_progress_bar is not False,
        command=shlex.join(["lightning-vision", *words]),
    )


def keep(config: Namespace, kept: Kept) -> None:
    """Set an option to the value with which the run was started."""
    node: Any = config
    *parents, last = kept.key.split(".")
    for name in parents:
        node = node[int(name)] if isinstance(node, list) else node[name]
    node[last] = kept.before


def fit(
    launch: RunLaunch,
    model: ContinualClassifier,
    datamodule: StreamDataModule,
    trainer_options: Callable[[], dict[str, Any]],
    probe: Trainer,
) -> int:
    """Run the stream, or resume it, and print the results; see ``RunLaunch.run``.

    Returns:
        The exit code: 0, or that of a run without a test image.
    """
    results = launch.run(model, datamodule, trainer_options, probe)
    if launch.trained and is_first():
        from lightning_vision.run.summary import print_summary

        print_summary(results, launch.progress.console)
        launch.progress.say(f"All results are in {launch.directory.path}")
        if misses_test(results.run.data):
            launch.progress.say(SENTENCE)
            return NOT_EVALUATED
    return 0


def run_name(config: Mapping[str, Any]) -> str:
    """The run directory's name: the given one, or strategy, scenario and seed.

    Args:
        config: The options in plain values.
    """
    if config["run_name"]:
        return safe_name(config["run_name"])
    scenario = config["data"].get("init_args", {}).get("stream")
    words = [
        short_name(config["model"]["strategy"], DEFAULT_STRATEGY),
        short_name(scenario, "InstanceIncremental"),
        f"seed={config['seed_everything']}",
    ]
    if "WANDB_SWEEP_ID" in os.environ:  # the runs of a W&B sweep differ in options that the name does not contain
        words.append(os.environ.get("WANDB_RUN_ID", ""))
    return safe_name("-".join(words))


def _config_text(parser: LightningArgumentParser, config: Namespace) -> str:
    """The contents of config.yaml: it repeats the run, without options that resume or delete one."""
    config = config.clone()
    for key, value in NOT_REPEATED.items():
        config[key] = value
    return str(parser.dump(config, skip_none=False, skip_validation=True))  # it was checked when it was parsed
