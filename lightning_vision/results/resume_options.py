"""The options that a resumed run must share with its beginning, and those that may differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Options that may differ on resume: paths, the number of workers, logging and progress.
FREE_ON_RESUME = (
    "ckpt_path",
    "config",
    "overwrite",
    "run_name",
    "keep_checkpoints",
    "stop_after",
    "trust_run",
    "probe",
    "weights_only",
    "energy",
    "wandb",
    "data.root",
    "data.init_args.root",
    "data.init_args.metadata",
    "data.init_args.labels",
    "data.init_args.label_names",
    "data.init_args.num_workers",
    "data.init_args.cache_dir",
    "data.init_args.cache_gb",
    "data.init_args.feature_cache_gb",
    "model.base_checkpoint",
    "model.backbone_weights",
    "trainer.default_root_dir",
    "trainer.logger",
    "trainer.log_every_n_steps",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "trainer.profiler",
)


def flatten(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a nested configuration."""
    if isinstance(config, dict) and config:
        for key, value in config.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(config, list) and any(isinstance(item, dict) for item in config):
        for number, value in enumerate(config):
            yield from flatten(value, f"{prefix}.{number}")
    else:
        yield prefix, config


def binding(config: dict[str, Any]) -> dict[str, Any]:
    """The options that decide a run's result, by dotted key."""
    return {key: value for key, value in flatten(config) if not is_free(key)}


def is_free(key: str) -> bool:
    """Whether an option, by its dotted key, may differ when a run resumes."""
    return any(key == free or key.startswith(f"{free}.") for free in FREE_ON_RESUME)
