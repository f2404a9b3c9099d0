"""Makes run directories as a run leaves them, from given accuracies: results.json, predictions.npz, config.yaml, metrics.csv.

No network is trained and torch is not loaded.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from lightning_vision.results.schema import ClassScores, Confusion, Results, Scores, Variant, write_results

CLASSES = ("ant", "bee", "cat")
BASE_SECONDS, SECONDS = 10.0, 2.0
"""Of training the base, and of learning an increment."""

Labels = npt.NDArray[np.int64]


def make_run(
    folder: Path,
    accuracies: Sequence[float] = (0.5, 0.6, 0.7),
    *,
    strategy: str = "strategies.HeadOnly",
    init_args: Mapping[str, Any] | None = None,
    seed: int = 0,
    classes: Sequence[str] = CLASSES,
    scenario: str = "InstanceIncremental",
    experiences: int | None = None,
    images: int = 60,
    predicted: Labels | None = None,
    labels: Labels | None = None,
    order: Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
    base: Path | None = None,
    is_base: bool = False,
    seconds: float = SECONDS,
    energy: float | None = 1e-6,
    epochs: int = 2,
    epsilons: Sequence[float] = (),
    images_from: str = "test",
    groups: Sequence[str] | None = None,
    older: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Make one run directory.

    Args:
        folder: The run directory; made with its parents.
        accuracies: Test accuracy after each finished experience, made true by the predictions; while classes are unseen no
            more images can be right than there are of the seen ones.
        strategy: Dotted path of the learning strategy.
        init_args: Its arguments.
        seed: seed_everything, and the stream's seed.
        classes: C names, in the order of this run.
        scenario: Any; in ClassIncremental the classes are dealt over the experiences.
        experiences: T, the length of the stream; None: as many as there are accuracies. With more the run is unfinished.
        images: N, the size of the test set; a multiple of C gives classes of one size.
        predicted: (t, N) predictions in place of those that follow from ``accuracies``.
        labels: (N,) true classes in place of 0, 1, .., C - 1, 0, 1, ...
        order: Permutation of the C classes: the run counts its classes in this order, its predictions are the same by name.
        options: Further options of config.yaml by dotted key.
        base: The run directory of the base that it starts from; None: it trains the base itself.
        is_base: It is a base alone, stopped after experience 0.
        seconds: Of learning each increment.
        energy: Energy of learning an increment in kWh; a fifth of it goes to each evaluation. None: not tracked.
        epochs: Of each increment.
        epsilons: Variants of the strategy: their predictions are those of the run.
        images_from: First part of the test images' paths; another is another test set.
        groups: (N,) of the test images.
        older: predictions.npz as older versions wrote it, without ``part`` and ``group``.
        changes: Fields of results.json by dotted key, changed last.
    """
    t = len(accuracies) if predicted is None else len(predicted)
    stream = experiences or (3 if is_base else t)
    c = len(classes)
    label = np.arange(images) % c if labels is None else labels
    parts = _parts(label, c, stream, scenario)
    seen = [sorted(set(label[parts <= e].tolist())) if scenario == "ClassIncremental" else list(range(c)) for e in range(t)]  # fmt: skip
    rng = np.random.default_rng([seed, *hashlib.sha256(f"{strategy} {init_args}".encode()).digest()])
    if predicted is None:
        predicted = np.stack([_predict(label, a, s, rng) for a, s in zip(accuracies, seen, strict=True)])
    confidence = rng.uniform(0.4, 1.0, predicted.shape).astype(np.float32)
    names = list(classes)
    if order is not None:
        place = np.argsort(order)
        names, label, predicted = [names[i] for i in order], place[label], place[predicted]
        seen = [sorted(place[s].tolist()) for s in seen]

    config = make_config(folder.name, strategy, init_args or {}, seed, scenario, stream, base, is_base, options or {})
    r = _matrix(label, predicted, parts, stream, seen, full=scenario != "ClassIncremental")
    scores = [_score(label, row, confidence[e], names) for e, row in enumerate(predicted)]
    test_accuracy = [s.accuracy for s in scores]
    records = [
        _record(e, names, seen, parts, base, seconds, energy, epochs, scenario, new=sorted(set(seen[e]) - set(seen[e - 1] if e else [])))
        for e in range(t)
    ]  # fmt: skip
    variants = {
        f"epsilon={epsilon:g}": Variant(
            key="epsilon",
            value=epsilon,
            test_accuracy=test_accuracy,
            val_accuracy=[None, *test_accuracy[1:]],
            accuracy_matrix=r,
            test=scores[-1],
            extra={"n_epsilon": {name: 100 * epsilon for name in names}},
        )
        for epsilon in epsilons
    }
    joint = scenario == "Joint"
    spent = [used for record in records for used in (record, record["evaluation"])]
    content = {
        "schema": 2,
        "run": {
            "name": folder.name,
            "strategy": config["model"]["strategy"],
            "base_strategy": None if joint else {"class_path": "lightning_vision.learning.strategy.Strategy", "init_args": {}},
            "data": {
                "class_path": "datamodules.digits.Digits",
                "init_args": dict(config["data"]["init_args"]),
                "samples": {"train": 40 * stream, "val": 4 * stream, "test": images},
                "leaks": {"exact": 0, "near": 0, "label": 0, "groups": 0},
                "remarks": [],
                "skipped": 0,
            },
            "scenario": scenario,
            "experiences": stream,
            "seed": seed,
            "stream_hash": f"stream of {scenario}, {stream}, seed {seed}",
            "split_hash": f"split of {images_from}, {images}",
            "config_hash": hashlib.sha256(yaml.safe_dump(config).encode()).hexdigest(),
            "complete": t == stream,
        },
        "class_names": names,
        "accuracy_matrix": r,
        "test_accuracy": test_accuracy,
        "seen_accuracy": [_mean(row[np.isin(label, s)]) for row, s in zip(predicted == label, seen, strict=True)],
        "chance": [1 / c] * stream,
        "initial_accuracy": None,
        "average_accuracy": _mean(_known(r[-1][:t])),
        "average_incremental_accuracy": _mean([_mean(_known(row[: e + 1])) for e, row in enumerate(r)]),
        "forgetting": forgetting(r),
        "backward_transfer": _mean([_known([r[-1][i]])[0] - _known([r[i][i]])[0] for i in range(t - 1)]),
        "forward_transfer": None,
        "test": scores[-1],
        "first_test": scores[0],
        "picked_variant": [None, *[next(iter(variants))] * (t - 1)] if variants else None,
        "variants": variants,
        "experiences": records,
        "base": {
            "seconds": 0.0 if joint else records[0]["seconds"],
            "energy_kwh": 0.0 if joint else records[0]["energy_kwh"],
            "co2eq_kg": 0.0 if joint else records[0]["co2eq_kg"],
            "from_checkpoint": config["model"]["base_checkpoint"],
        },
        "network": {"backbone": "test_resnet", "total_parameters": 373658, "macs": 4099008},
        "totals": {
            "seconds": sum(used["seconds"] for used in spent),
            "energy_kwh": None if energy is None else sum(used["energy_kwh"] for used in spent),
            "co2eq_kg": None if energy is None else sum(used["co2eq_kg"] for used in spent),
            "backbone_images": sum(record["backbone_images"] for record in records),
        },
        "features": {"cached": True, "reason": "", "computed": 50, "reused": 30, "seconds": 1.0, "saved_seconds": 0.6, "smallest_cosine": None},
        "energy": None if energy is None else {"mode": "estimated", "country": "FRA", "grid_gco2_per_kwh": 56.0},
        "environment": {"python": "3.11", "torch": "2.15", "lightning": "2.6.6", "device": "cpu", "devices": 1, "precision": "32-true", "git_commit": None},
    }  # fmt: skip
    for key, value in (changes or {}).items():
        *parents, last = key.split(".")
        inner: Any = content
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
    folder.mkdir(parents=True, exist_ok=True)
    write_results(Results.model_validate(content), folder / "results.json")
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    facts = {} if older else {"part": parts.astype(np.int32)} | ({} if groups is None else {"group": np.array(groups)})
    _write_predictions(folder / "predictions.npz", label, predicted, confidence, list(variants), images_from, facts)
    _write_metrics(folder / "metrics.csv", test_accuracy, epochs)
    return folder


def make_comparison(
    folder: Path, accuracies: Mapping[str, Mapping[int, float]], *, base_accuracy: float = 0.5, **run: Any
) -> Path:
    """Make a comparison's folder as ``compare`` leaves it, with a shared base for each seed.

    Args:
        folder: The comparison's folder.
        accuracies: By name of the learning strategy and seed, the test accuracy after the last experience.
        base_accuracy: Test accuracy of each base.
        run: What ``make_run`` takes, for every run.
    """
    seeds = sorted({seed for by_seed in accuracies.values() for seed in by_seed})
    bases = [
        {"name": f"base-seed={seed}", "seed": seed, "settings": {}, "directory": f"bases/base-seed={seed}"}
        for seed in seeds
    ]
    for seed in seeds:
        make_run(folder / f"bases/base-seed={seed}", [base_accuracy], seed=seed, is_base=True, **run)
    cells = []
    for label, by_seed in accuracies.items():
        for seed, accuracy in by_seed.items():
            name, base = f"{label}-seed={seed}", folder / f"bases/base-seed={seed}"
            reached = [base_accuracy, (base_accuracy + accuracy) / 2, accuracy]
            make_run(
                folder / "runs" / name, reached, strategy=f"strategies.{label}", seed=seed, base=base, **run
            )  # fmt: skip
            cells.append({
                "name": name, "method": label, "strategy": label, "seed": seed, "settings": {}, "base": base.name,
                "directory": f"runs/{name}",
            })  # fmt: skip
    command = f"lightning-vision compare --output {folder.name}"
    file = {"schema": 1, "name": folder.name, "command": command, "cells": cells, "bases": bases}
    (folder / "comparison.json").write_text(json.dumps(file), encoding="utf-8")
    return folder


def make_config(
    name: str, strategy: str, init_args: Mapping[str, Any], seed: int, scenario: str, experiences: int,
    base: Path | None, is_base: bool, options: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """The options that a run saves, as far as a report looks at them."""
    config: dict[str, Any] = {
        "seed_everything": seed,
        "trainer": {"max_epochs": 2, "default_root_dir": "runs", "precision": None},
        "model": {
            "backbone": "test_resnet",
            "pretrained": False,
            "strategy": {"class_path": strategy, "init_args": dict(init_args)},
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001, "weight_decay": 0.01}},
            "base_checkpoint": None if base is None else str(base / "checkpoints" / "experience=0000.ckpt"),
        },
        "data": {
            "class_path": "datamodules.Digits",
            "init_args": {
                "root": "/data",
                "seed": 0,
                "image_size": 32,
                "stream": {"class_path": f"lightning_vision.{scenario}", "init_args": {"experiences": experiences, "seed": seed}},
            },
        },
        "run_name": name,
        "wandb": {"mode": "offline", "group": None},
    }  # fmt: skip
    if is_base:
        config["stop_after"] = 0
    for key, value in options.items():
        *parents, last = key.split(".")
        inner = config
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return config


def forgetting(matrix: Sequence[Sequence[float | None]]) -> float | None:
    """Mean over i < T-1 of (max over t < T-1 of R[t][i]) - R[T-1][i], as docs/results.md has it."""
    last = len(matrix) - 1
    lost = [max(_known([row[i] for row in matrix[:last]])) - _known([matrix[last][i]])[0] for i in range(last)]
    return _mean(lost)


def _parts(label: Labels, classes: int, experiences: int, scenario: str) -> Labels:
    """(N,) the experience of each test image."""
    if scenario == "ClassIncremental":
        return label * experiences // classes
    return (np.arange(len(label)) // classes) % experiences


def _predict(label: Labels, accuracy: float, seen: Sequence[int], rng: np.random.Generator) -> Labels:
    """(N,) predictions of seen classes, as many right as the accuracy asks for and can be."""
    can = np.flatnonzero(np.isin(label, seen))
    right = rng.permutation(can)[: round(accuracy * len(label))]
    wrong = np.array([rng.choice([c for c in seen if c != true] or [true]) for true in label.tolist()])
    wrong[right] = label[right]
    return wrong


def _matrix(
    label: Labels, predicted: Labels, parts: Labels, experiences: int, seen: Sequence[Sequence[int]], full: bool
) -> list[list[float | None]]:
    return [
        [
            _mean((row == label)[parts == i]) if full or np.isin(label[parts == i], seen[e]).all() else None
            for i in range(experiences)
        ]
        for e, row in enumerate(predicted)
    ]


def _score(label: Labels, predicted: Labels, confidence: npt.NDArray[np.float32], names: Sequence[str]) -> Scores:
    c = len(names)
    counts = np.bincount(label * c + predicted, minlength=c * c).reshape(c, c)
    per_class: dict[str, ClassScores] = {}
    for name, right, support, taken in zip(
        names, np.diag(counts).tolist(), counts.sum(1).tolist(), counts.sum(0).tolist(), strict=True
    ):
        per_class[name] = ClassScores(
            precision=right / taken if taken else None,
            recall=right / support if support else None,
            f1=2 * right / (support + taken) if support + taken else None,
            support=support,
        )
    errors = [(int(counts[i, j]), i, j) for i in range(c) for j in range(c) if i != j and counts[i, j]]
    top = sorted(errors, key=lambda cell: -cell[0])[:20]
    return Scores(
        accuracy=_mean(label == predicted),
        macro_f1=_mean([s["f1"] for s in per_class.values() if s["support"] and s["f1"] is not None]),
        ece=abs(float(confidence.mean()) - float((label == predicted).mean())),
        per_class=per_class,
        confusion_matrix=counts.tolist(),
        top_confusions=[Confusion(true=names[i], predicted=names[j], count=n, share=n / int(counts[i].sum())) for n, i, j in top],
    )  # fmt: skip


def _record(
    e: int, names: Sequence[str], seen: Sequence[Sequence[int]], parts: Labels, base: Path | None, seconds: float,
    energy: float | None, epochs: int, scenario: str, new: Sequence[int],
) -> dict[str, Any]:  # fmt: skip
    is_base = e == 0 and scenario != "Joint"
    took = (BASE_SECONDS if base is None else 0.0) if is_base else seconds
    kwh = None if energy is None else energy * took / max(seconds, 1e-9)
    return {
        "index": e,
        "name": "base" if is_base else f"increment {e}",
        "classes": list(new) if scenario == "ClassIncremental" else list(range(len(names))),
        "train_samples": 40,
        "val_samples": 4,
        "test_samples": int((parts == e).sum()),
        "epochs": (5 if base is None else 0) if is_base else epochs,
        "stopped_early": False,
        "seconds": took,
        "samples_per_second": 40 / took if took else None,
        "energy_kwh": kwh,
        "co2eq_kg": None if kwh is None else kwh * 0.056,
        "trainable_parameters": 373658 if is_base else 2570,
        "peak_memory_bytes": None,
        "backbone_images": 40,
        "evaluation": {
            "seconds": 0.5,
            "energy_kwh": None if energy is None else energy / 5,
            "co2eq_kg": None if energy is None else energy / 5 * 0.056,
            "images": len(parts),
            "backbone_images": 0,
        },
    }


def _write_predictions(
    path: Path, label: Labels, predicted: Labels, confidence: npt.NDArray[np.float32], variants: Sequence[str], images_from: str,
    facts: Mapping[str, npt.NDArray[Any]],
) -> None:  # fmt: skip
    paths = [f"{images_from}/{number}.png" for number in range(len(label))]
    arrays: dict[str, Any] = {
        "index": np.arange(len(label)) + 1000,
        "path_hash": np.array([hashlib.sha256(path.encode()).hexdigest()[:16] for path in paths]),
        "label": label,
        "predicted": predicted.astype(np.int32),
        "confidence": confidence,
        **facts,
    }
    for name in variants:
        arrays |= {f"predicted/{name}": arrays["predicted"], f"confidence/{name}": confidence}
    np.savez(path, **arrays)


def _write_metrics(path: Path, test_accuracy: Sequence[float | None], epochs: int) -> None:
    """Some rows of training, validation and test, as the run's CSV logger has them."""
    lines = ["step,train/loss,epoch,val/accuracy,stream/experience,stream/step,test/accuracy"]
    for e, accuracy in enumerate(test_accuracy):
        for epoch in range(epochs):
            step = 10 * (e * epochs + epoch + 1)
            lines.append(f"{step},{1 / (1 + step):.4f},{epoch},{accuracy},{float(e)},{step},")
        lines.append(f"{10 * (e + 1) * epochs},,,,{float(e)},{10 * (e + 1) * epochs},{accuracy}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Any) -> float | None:
    known = np.array(_known(values) if isinstance(values, list) else values, dtype=np.float64)
    return float(known.mean()) if known.size else None
