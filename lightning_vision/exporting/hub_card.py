"""The model card of a run in a repository of the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from lightning_vision.class_path import strategy_name
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import CheckpointError
from lightning_vision.exporting.card_record import (
    card_environment,
    class_rows,
    data_options,
    front_matter,
    scores_on,
    training_options,
)
from lightning_vision.results.schema import Results
from lightning_vision.terminal.wording import plural
from lightning_vision.trust.kept_calibration import Trusted
from lightning_vision.trust.report import TrustReport


@dataclass(frozen=True)
class RunAbout:
    """What the card says of the classifier; the fields are those of an exported file's ``Description``."""

    class_names: list[str]
    seen: list[bool]
    backbone: str
    temperature: float
    threshold: float | None
    version: str
    """Of lightning_vision."""
    quantized: bool = False


@dataclass(frozen=True)
class PushedRun:
    """A run whose card is written.

    Args:
        results: Its results.
        config: Its options.
        identity: The entry ``lightning_vision`` of its checkpoint.
        seen: (C) whether each class was learned.
        trusted: The calibration in the checkpoint.
        trust: What ``test`` found; None: it was not asked.
        data: The class of its datamodule; None: it is not installed here.
    """

    results: Results
    config: Mapping[str, Any]
    identity: Mapping[str, Any]
    seen: list[bool]
    trusted: Trusted
    trust: TrustReport | None
    data: type[StreamDataModule] | None


def hub_card(run: PushedRun, name: str) -> str:
    """The text of README.md.

    Args:
        run: The run.
        name: The repository, ``owner/name``.

    Raises:
        CheckpointError: The results are of fewer experiences than the checkpoint.
    """
    results, experience = run.results, int(run.identity["experience"])
    if experience >= len(results.experiences):
        raise CheckpointError(
            f"results.json has {plural(len(results.experiences), 'experience')}, but the checkpoint is from experience "
            f"{experience}, so they belong to different runs. Restore the file of this run."
        )
    last = experience == len(results.experiences) - 1
    data = str(results.run.data["class_path"]).rsplit(".", 1)[-1]
    strategy = str(run.identity["strategy" if experience or not run.identity["is_base"] else "base_strategy"])
    about = RunAbout(
        class_names=list(run.identity["class_names"]),
        seen=run.seen,
        backbone=str(run.identity["backbone"]),
        temperature=run.trusted.temperature,
        threshold=run.trusted.threshold,
        version=metadata.version("lightning_vision"),
    )
    scores = results.test if last else None
    options: Any = results.run.data.get("init_args") or {}
    short = strategy_name(strategy)
    measured = {} if scores is None else {
        "accuracy": scores.accuracy,
        "f1": scores.macro_f1,
        "average_incremental_accuracy": results.average_incremental_accuracy,
        "forgetting": results.forgetting,
    }  # fmt: skip
    tags = [about.backbone, short, str(results.run.scenario)]
    return card_environment().get_template("hub_card.md.j2").render(
        front_matter=front_matter(name.rsplit("/", 1)[-1], data, tags, scores_on(data, measured)),
        name=name.rsplit("/", 1)[-1],
        address=name,
        about=about,
        results=results,
        experience=experience,
        scores=scores,
        classes=class_rows(about.class_names, about.seen, results, scores),
        facts={key: getattr(run.data, key, None) for key in ("SOURCE", "LICENCE", "PAPER")},
        data_class=data,
        cropped=bool(options.get("crop_to_box", getattr(run.data, "crop_to_box", False))),
        options=[*data_options(options), *training_options(run.config)],
        picked=results.picked_variant[experience] if results.picked_variant else None,
        trust=run.trust,
        one_view=False,
        strategy=short,
    )  # fmt: skip
