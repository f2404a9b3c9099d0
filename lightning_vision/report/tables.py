"""The figures of a report as tables: CSV for other programs, Markdown for a README or an issue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lightning_vision.report.changes import class_changes
from lightning_vision.report.markdown import escaped
from lightning_vision.report.means import mean_of_known
from lightning_vision.report.method_figures import recall_intervals
from lightning_vision.report.paper_tables import paper_tables
from lightning_vision.report.proportion import Interval
from lightning_vision.report.runs import GatheredRuns, Group, Method, RankedMethod, ReportRun
from lightning_vision.report.sharing import Savings, Spent, savings
from lightning_vision.report.tuning import TuningCost, tuned_methods, tuning_rows, words_on_tuning
from lightning_vision.storage.atomic_write import write_text_atomically
from lightning_vision.terminal.wording import figure, plural, printable


def write_tables(comparison: GatheredRuns, output: Path) -> list[Path]:
    """Write ranking.csv, per_class.csv, experiences.csv, ranking.md, the tables for a paper table.tex and table.md, and tuning.csv if options were tuned.

    Args:
        comparison: The runs.
        output: The folder; made if need be.

    Returns:
        The files.

    Raises:
        TrainingError: One cannot be written.
    """
    output.mkdir(parents=True, exist_ok=True)
    texts = {
        "ranking.csv": _csv(ranking_table(comparison)),
        "per_class.csv": _csv(class_table(comparison)),
        "experiences.csv": _csv(experience_table(comparison)),
        "ranking.md": ranking_markdown(comparison),
        "table.tex": paper_tables(comparison, "latex"),
        "table.md": paper_tables(comparison, "markdown"),
    }
    if comparison.tunings:
        texts["tuning.csv"] = _csv(pd.DataFrame([row for file in comparison.tunings for row in tuning_rows(file)]))
    for name, text in texts.items():
        # A name from an odd disk may hold bytes that are no UTF-8.
        write_text_atomically(output / name, text.encode("utf-8", "backslashreplace").decode("utf-8"))
    return [output / name for name in texts]


def ranking_table(comparison: GatheredRuns) -> pd.DataFrame:
    """A row for each ranked method of each group, best first; unknown values are NaN or empty."""
    return pd.DataFrame([
        _ranking_row(group, place, row)
        for group in comparison.groups
        for place, row in enumerate(group.ranking.methods, start=1)
    ])  # fmt: skip


def _ranking_row(group: Group, place: int, row: RankedMethod) -> dict[str, Any]:
    return {
        "group": group.name,
        "rank": place,
        "method": row.label,
        "strategy": row.strategy,
        "seeds": " ".join(map(str, row.seeds)),
        "test accuracy (%)": _hundredfold(row.accuracy.mean),
        **_ends("95 % interval", "%", row.accuracy),
        "independent of the seed": row.seed_free,
        "difference to best (points)": _middle(row.difference),
        **_ends("difference", "points", row.difference),
        "p": row.p_value,
        "p, Holm": row.p_holm,
        "test": row.test,
        "verdict": row.verdict,
        "why not tested": row.why,
        "macro F1 (%)": _middle(row.macro_f1),
        **_ends("macro F1", "%", row.macro_f1),
        "average incremental accuracy (%)": _middle(row.average_incremental),
        **_ends("average incremental accuracy", "%", row.average_incremental),
        "learning accuracy (%)": _middle(row.learning_accuracy),
        **_ends("learning accuracy", "%", row.learning_accuracy),
        "forgetting (points)": _middle(row.forgetting),
        **_ends("forgetting", "points", row.forgetting),
        "bound": row.gap.bound,
        "gap closed (%)": _middle(row.gap.share),
        **_ends("gap closed", "%", row.gap.share),
        "why no share of the gap": row.gap.why,
        "task accuracy (%)": _middle(row.task_accuracy),
        **_ends("task accuracy", "%", row.task_accuracy),
        "average anytime accuracy (%)": _middle(row.average_anytime),
        **_ends("average anytime accuracy", "%", row.average_anytime),
        "probe accuracy (%)": _middle(row.probe_accuracy),
        **_ends("probe accuracy", "%", row.probe_accuracy),
        "probe above method (points)": _middle(row.probe_gain),
        **_ends("probe above method", "points", row.probe_gain),
        "memory (bytes)": row.memory_bytes,
        "parameters": row.total_parameters,
        "trainable parameters": row.trainable_parameters,
        "multiply-adds per image": row.macs,
        "epochs per increment": row.epochs,
        "learning steps": row.steps,
        "learning time (s)": row.fit_seconds,
        "learning energy (kWh)": row.energy_kwh,
        "learning CO2eq (kg)": row.co2eq_kg,
        "on front of accuracy and energy": row.on_front_energy,
        "on front of accuracy and time": row.on_front_time,
    }


def class_table(comparison: GatheredRuns) -> pd.DataFrame:
    """A row for each method and class: means over the seeds of its complete runs, or of all runs if none is complete."""
    methods = [(group, method) for group in comparison.groups for method in group.methods]
    return pd.DataFrame([row for group, method in methods for row in _class_rows(group, method)])


def _class_rows(group: Group, method: Method) -> list[dict[str, Any]]:
    runs = method.complete or method.runs
    changes = [{change.name: change for change in class_changes(run)} for run in runs]
    recalls = recall_intervals(runs)
    rows = []
    for name in group.class_names:
        scores = [run.results.test.per_class[name] for run in runs]
        changed = [by_name[name] for by_name in changes if name in by_name]
        rows.append(
            {
                "group": group.name,
                "method": method.label,
                "class": name,
                "test images": scores[0]["support"],
                "seeds": len(runs),
                "recall (%)": _hundredfold(mean_of_known(score["recall"] for score in scores)),
                **_ends("recall", "%", recalls.get(name)),
                "precision (%)": _hundredfold(mean_of_known(score["precision"] for score in scores)),
                "F1 (%)": _hundredfold(mean_of_known(score["f1"] for score in scores)),
                "recall before the last update (%)": _hundredfold(mean_of_known(change.before for change in changed)),
                "best earlier recall (%)": _hundredfold(mean_of_known(change.best_before for change in changed)),
                "forgetting (points)": _hundredfold(mean_of_known(change.forgetting for change in changed)),
            }
        )
    return rows


def experience_table(comparison: GatheredRuns) -> pd.DataFrame:
    """A row for each run and experience, including bases and unfinished runs."""
    runs = [(group, run) for group in comparison.groups for run in (*group.bases, *group.runs)]
    return pd.DataFrame([row for group, run in runs for row in _experience_rows(group, run)])


def _experience_rows(group: Group, run: ReportRun) -> list[dict[str, Any]]:
    results = run.results
    return [
        {
            "group": group.name,
            "method": run.method,
            "strategy": run.strategy,
            "seed": run.seed,
            "run": str(run.path),
            "complete": run.unfinished is None,
            "experience": record.index,
            "name": record.name,
            "training images": record.train_samples,
            "epochs": record.epochs,
            "steps": record.steps,
            "test accuracy (%)": _hundredfold(accuracy),
            "accuracy on classes seen (%)": _hundredfold(seen),
            "task accuracy (%)": _hundredfold(task),
            "probe accuracy (%)": _hundredfold(_probe_of(run, record.index)),
            "learning time (s)": record.seconds,
            "learning energy (kWh)": record.energy_kwh,
            "learning CO2eq (kg)": record.co2eq_kg,
            "evaluation time (s)": record.evaluation.seconds,
            "evaluation energy (kWh)": record.evaluation.energy_kwh,
            "trainable parameters": record.trainable_parameters,
            "images through the backbone": record.backbone_images,
        }
        for record, accuracy, seen, task in zip(
            results.experiences, results.test_accuracy, results.seen_accuracy, run.task_accuracies, strict=True
        )
    ]


def _probe_of(run: ReportRun, t: int) -> float | None:
    probe = run.results.probe
    return None if probe is None or t >= len(probe.accuracy) else probe.accuracy[t]


def ranking_markdown(comparison: GatheredRuns) -> str:
    """The ranking as Markdown: the result, a table and the remarks of each group."""
    lines = [f"# {escaped(comparison.title)}", ""]
    if comparison.command:
        lines += [f"    {printable(' '.join(comparison.command.split()))}", ""]
    for group in comparison.groups:
        lines += [f"## {escaped(group.name)}", "", escaped(group.ranking.words), ""]
        lines += [escaped(group.ranking.how_many), ""] if group.ranking.how_many else []
        lines += [escaped(" ".join(group.ranking.bounds)), ""] if group.ranking.bounds else []
        if group.ranking.methods:
            lines += [*_markdown_table(group.ranking.methods), ""]
        lines += [*(f"- {escaped(remark)}" for remark in group.remarks), *([""] if group.remarks else [])]
    for file in comparison.tunings:
        lines += ["## Tuning", "", escaped(words_on_tuning(file)), ""]
        lines += [
            f"- {escaped(row.method)}: {escaped('; '.join(row.picked))} ({row.cost.words})"
            for row in tuned_methods(file)
        ] + [""]
    lines += _totals(savings(comparison))
    if comparison.left_out:
        lines += ["## Left out", ""]
        lines += [f"- {escaped(str(left.path))}: {escaped(left.reason)}" for left in comparison.left_out]
    return "\n".join(lines).rstrip() + "\n"


def _totals(spent: Savings) -> list[str]:
    """What all runs cost, and what tuning cost beside them."""
    rows: list[tuple[str, Spent | TuningCost]] = [(f"all {spent.runs} runs, learning and evaluation", spent.spent)]
    if spent.tuning is not None:
        rows += [(f"tuning, {plural(spent.tuning.trials, 'trial')}", spent.tuning), ("together", spent.total)]
    lines = ["## Totals", "", "| cost | time (s) | images | kWh | kg CO2eq |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {what} | {' | '.join(_plain(value) or 'not known' for value in (cost.seconds, cost.images, cost.energy_kwh, cost.co2eq_kg))} |"
        for what, cost in rows
    ]
    return [*lines, "", *([spent.words_on_energy, ""] if spent.words_on_energy else [])]


def _markdown_table(rows: Sequence[RankedMethod]) -> list[str]:
    header = (
        "method", "seeds", "test accuracy (%)", "95 % interval", "difference to the best (points)", "95 % interval", "significant?",
        "learning accuracy (%)", "forgetting (points)", "95 % interval", "gap closed (%)", "95 % interval", "task accuracy (%)", "95 % interval", "average anytime accuracy (%)", "95 % interval", "probe accuracy (%)", "95 % interval", "probe above method (points)", "95 % interval",
        "memory (bytes)",
        "parameters", "multiply-adds", "epochs", "steps", "learning (s)", "learning (kWh)",
    )  # fmt: skip
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    for row in rows:
        cells = (
            escaped(row.label),
            str(len(row.seeds)),
            _percent(row.accuracy.mean),
            _span(row.accuracy) + (", the same for every seed" if row.seed_free else ""),
            _percent(None if row.difference is None else row.difference.mean, sign=True),
            _span(row.difference, sign=True),
            f"{row.verdict}, {row.why}" if row.why else row.verdict,
            _percent(None if row.learning_accuracy is None else row.learning_accuracy.mean),
            _percent(None if row.forgetting is None else row.forgetting.mean, sign=True),
            _span(row.forgetting, sign=True),
            f"{row.gap.bound} bound"
            if row.gap.bound
            else _percent(None if row.gap.share is None else row.gap.share.mean),
            _span(row.gap.share),
            _percent(None if row.task_accuracy is None else row.task_accuracy.mean),
            _span(row.task_accuracy),
            _percent(None if row.average_anytime is None else row.average_anytime.mean),
            _span(row.average_anytime),
            _percent(None if row.probe_accuracy is None else row.probe_accuracy.mean),
            _span(row.probe_accuracy),
            _percent(None if row.probe_gain is None else row.probe_gain.mean, sign=True),
            _span(row.probe_gain, sign=True),
            _plain(row.memory_bytes),
            _plain(row.total_parameters),
            _plain(row.macs),
            _plain(row.epochs),
            _plain(row.steps),
            _plain(row.fit_seconds),
            _plain(row.energy_kwh),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, lineterminator="\n") if len(table) else ""


def _hundredfold(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _percent(value: float | None, sign: bool = False) -> str:
    return "" if value is None else f"{100 * value:{'+' if sign else ''}.1f}"


def _span(interval: Interval | None, sign: bool = False) -> str:
    if interval is None or interval.low is None or interval.high is None:
        return ""
    return f"{_percent(interval.low, sign)} to {_percent(interval.high, sign)}"


def _middle(interval: Interval | None) -> float | None:
    return None if interval is None else _hundredfold(interval.mean)


def _ends(what: str, unit: str, interval: Interval | None) -> dict[str, float | None]:
    """The columns of both ends of an interval."""
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return {f"{what} low ({unit})": _hundredfold(low), f"{what} high ({unit})": _hundredfold(high)}


def _plain(value: float | None) -> str:
    return "" if value is None else figure(value)
