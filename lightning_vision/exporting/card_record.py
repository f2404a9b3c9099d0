"""What every model card says of a run: the Hub's metadata, the classes and their scores, the options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import Environment
from markupsafe import Markup

from lightning_vision.class_path import short_name
from lightning_vision.drawing.page_template import page_environment
from lightning_vision.report.markdown import escaped
from lightning_vision.results.schema import Results, Scores

if TYPE_CHECKING:
    from huggingface_hub import EvalResult


@dataclass(frozen=True)
class ClassRow:
    """One class in the table of scores; unknown values are None."""

    name: str
    seen: bool
    train: int | None
    support: int | None
    precision: float | None
    recall: float | None
    f1: float | None


def card_environment() -> Environment:
    """The environment of the cards' templates: Markdown, so text from elsewhere passes the filter ``md`` instead of HTML's."""
    environment = page_environment().overlay(autoescape=False)
    environment.filters |= {"md": lambda text: escaped(str(text)), "percent": _percent}
    return environment


def scores_on(data: str, measured: Mapping[str, float | None]) -> list[EvalResult]:
    """Scores on the test set in the Hub's format, without those that are not known.

    Args:
        data: The name of the data.
        measured: The scores, by the Hub's name of the metric.
    """
    from huggingface_hub import EvalResult  # takes time, and few commands need it

    return [
        EvalResult(
            task_type="image-classification",
            task_name="Image classification",
            dataset_type=data,
            dataset_name=data,
            dataset_split="test",
            metric_type=kind,
            metric_name=f"test {kind.replace('_', ' ')}",
            metric_value=round(value, 4),
        )
        for kind, value in measured.items()
        if value is not None
    ]


def front_matter(name: str, data: str, tags: Sequence[str], scores: Sequence[EvalResult]) -> Markup:
    """The metadata that the Hub reads: the YAML at the top of a card.

    Args:
        name: Of the model.
        data: The name of the data.
        tags: Beside those of every card.
        scores: See ``scores_on``; empty: none.
    """
    from huggingface_hub import ModelCardData

    card = ModelCardData(
        license="unknown",
        library_name="lightning_vision",
        pipeline_tag="image-classification",
        tags=["image-classification", "continual-learning", *tags],
        datasets=[data],
        metrics=["accuracy", "f1"],
        model_name=name if scores else None,
        eval_results=list(scores) or None,
    )
    # Not to be escaped: the line breaks are YAML's own, and it spells out what cannot be shown.
    return Markup(f"{card.to_yaml(line_break=chr(10))}\n")


def class_rows(
    names: Sequence[str], seen: Sequence[bool], results: Results | None, scores: Scores | None
) -> list[ClassRow]:
    """A row for each class, with its scores if they are known."""
    counts: Any = {} if results is None else results.run.data.get("samples_per_class", {})
    rows = []
    for name, learned in zip(names, seen, strict=True):
        found: Any = {} if scores is None else scores.per_class.get(name) or {}
        kept = (found.get("support"), found.get("precision"), found.get("recall"), found.get("f1"))
        rows.append(ClassRow(name, learned, counts.get(name, {}).get("train"), *kept))
    return rows


def data_options(found: Mapping[str, Any]) -> list[str]:
    """The options of a datamodule that affect images, without paths."""
    kept = ("image_size", "train_transforms", "eval_transforms", "split", "seed", "crop_to_box", "context", "classes")
    return [f"data.{key}: {found[key]}" for key in kept if found.get(key) is not None]


def training_options(config: Mapping[str, Any]) -> list[str]:
    """The options of initialisation and training."""
    model, trainer = config.get("model") or {}, config.get("trainer") or {}
    found = [f"model.{key}: {model[key]}" for key in ("pretrained", "base_epochs") if model.get(key) is not None]
    for key in ("strategy", "base_strategy", "optimizer", "base_optimizer", "lr_scheduler"):
        if isinstance(model.get(key), Mapping):
            set_ones = {
                name: value
                for name, value in (model[key].get("init_args") or {}).items()
                if value is not None and value is not False  # 0 is a setting
            }
            options = ", ".join(f"{name} {value}" for name, value in set_ones.items())
            found.append(f"model.{key}: {short_name(model[key], '')}{f' ({options})' if options else ''}")
    known = [key for key in ("max_epochs", "precision") if trainer.get(key) is not None]
    return [*found, *(f"trainer.{key}: {trainer[key]}" for key in known)]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"
