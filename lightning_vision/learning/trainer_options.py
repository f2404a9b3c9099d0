"""The options of Lightning's Trainer: the defaults, and the refused options with the reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_vision.errors import ConfigError

# Defaults where the user sets nothing.
TRAINER_DEFAULTS: dict[str, Any] = {
    "default_root_dir": "runs",
    "max_epochs": 10,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
    "log_every_n_steps": 10,
}


STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")


PRECISIONS = ("32", "32-true", "64", "64-true", "bf16-mixed", "16-mixed", "bf16", "16")


# Option, the values that have no effect, and the reason why others are refused.
REFUSED: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("barebones", (False, None), "it switches off the checkpoints and metrics that a run needs"),
    (
        "fast_dev_run",
        (False, None, 0),
        "it switches off checkpoints; for a quick try use trainer.max_epochs=1, trainer.limit_train_batches=2, "
        "trainer.limit_val_batches=2",
    ),
    (
        "overfit_batches",
        (0, 0.0, None),
        "it trains and validates on the same images; use trainer.limit_train_batches",
    ),
    ("enable_checkpointing", (True, None), "best weights, resuming and the results need checkpoints"),
    (
        "use_distributed_sampler",
        (False, None),
        "it pads and reorders; the stream's own sampler serves every image once",
    ),
    (
        "limit_test_batches",
        (None, 1.0),
        "results.json is about the whole test set; use data.test_fraction for a smaller one",
    ),
    ("limit_predict_batches", (None, 1.0), "predict writes every image"),
    ("reload_dataloaders_every_n_epochs", (0, None), "new loaders are built for each experience anyway"),
    ("model_registry", (None,), "checkpoints are kept in the run directory"),
)


def check_trainer_options(options: Mapping[str, Any]) -> None:
    """Refuse the trainer options that do not work with a stream of experiences.

    Raises:
        ConfigError: An option is refused; the message has the reason and an alternative.
    """
    for key, harmless, reason in REFUSED:
        value = options.get(key)
        if not any(value is h or (type(value) is type(h) and value == h) for h in harmless):
            raise ConfigError(f"trainer.{key}={value!r} cannot be used here: {reason}.")
    strategy = options.get("strategy", "auto")
    name = strategy if isinstance(strategy, str) else _class_path(strategy)
    if name not in STRATEGIES and not name.endswith(("DDPStrategy", "SingleDeviceStrategy")):
        raise ConfigError(
            f"trainer.strategy={name!r} cannot be used here: processes that are forked or spawned lose what was learned, and "
            f"sharded weights cannot be moved by hand. Expected one of {', '.join(STRATEGIES)}."
        )
    method = _init_args(strategy).get("start_method", "popen")
    if method != "popen":
        raise ConfigError(
            f"trainer.strategy: start_method={method!r} cannot be used here: processes that are forked or spawned lose what "
            "was learned. Leave it out."
        )
    precision = options.get("precision")
    if precision is not None and str(precision) not in PRECISIONS:
        raise ConfigError(
            f"trainer.precision={precision!r} cannot be used here: weights kept in half precision lose small updates. "
            f"Expected one of {', '.join(PRECISIONS)}."
        )


def _class_path(value: Any) -> str:
    if isinstance(value, Mapping) or hasattr(value, "class_path"):
        return str(value["class_path"])
    return type(value).__name__


def _init_args(value: Any) -> Mapping[str, Any]:
    return (value.get("init_args") or {}) if isinstance(value, Mapping) else {}
