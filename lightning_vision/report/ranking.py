"""Which method is best, by how much, and which differences are significant."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from lightning_vision.report.bounds import bounds_at, gap_closed, words_on_bounds
from lightning_vision.report.folds import fold_of
from lightning_vision.report.fronts import front_points
from lightning_vision.report.matrices import Matrix, matrix_of
from lightning_vision.report.means import mean_of_all, mean_of_known
from lightning_vision.report.method_figures import MethodFigures, figures_of, folded_figures
from lightning_vision.report.pairs import Pair, Pairs, fold_pairs, image_pairs
from lightning_vision.report.proportion import Interval
from lightning_vision.report.runs import Gap, Method, RankedMethod, Ranking, ReportRun, Verdict
from lightning_vision.report.sample_size import needed
from lightning_vision.report.statistics import ALPHA, FEWEST_SEEDS
from lightning_vision.terminal.wording import few, plural

POWER = 0.8
"""The probability of finding the difference, for the number of seeds and images that are needed."""


def best_first(methods: Sequence[Method]) -> list[Method]:
    """Sorted by mean test accuracy after the last experience, ties by label; methods without a complete run come last."""

    def place(method: Method) -> tuple[bool, float, str]:
        return not method.complete, -(mean_of_known(run.accuracy for run in method.complete) or 0.0), method.label  # fmt: skip

    return sorted(methods, key=place)


def rank(methods: Sequence[Method], bases: Sequence[ReportRun]) -> Ranking:
    """Rank the methods that have a complete run.

    Args:
        methods: Learning strategies on the same test images, or on the folds of the same data.
        bases: Runs of only the base, for the front of accuracy against cost.
    """
    ranked = [method for method in best_first(methods) if method.complete]
    if not ranked:
        return Ranking([], "No run is complete yet; there is nothing to rank.", False)
    matrices: dict[str, Matrix | None] = {}
    if all(fold_of(run.results) is not None for method in ranked for run in method.complete):
        pairs = fold_pairs(ranked)
        figures = {method.label: folded_figures(method.complete) for method in ranked}
    else:
        matrices = {method.label: matrix_of(method.complete) for method in ranked}
        pairs = image_pairs(ranked, matrices)
        figures = {method.label: figures_of(method.complete, matrices[method.label]) for method in ranked}
    fronts = {
        cost: {point.label for point in front_points(ranked, bases, cost) if point.kind != "base" and point.on_front}
        for cost in ("energy", "time")
    }  # fmt: skip
    best = ranked[0].label
    bounds = {point: bounds_at(ranked, point) for point in {method.point for method in ranked}}
    rows = [
        _row(method, figures[method.label], pairs.get((method.label, best)), gap_closed(method, bounds[method.point], matrices), method.label in fronts["energy"], method.label in fronts["time"])
        for method in ranked
    ]  # fmt: skip
    tested = any(pair.p_holm is not None for pair in pairs.values())
    return Ranking(rows, _words(rows), tested, words_on_bounds(ranked), _how_many(rows, pairs))


def _row(
    method: Method, figures: MethodFigures, against_best: Pair | None, gap: Gap, on_energy: bool, on_time: bool
) -> RankedMethod:
    runs = method.complete
    test = None if against_best is None else against_best.test
    network = runs[0].results.network
    return RankedMethod(
        label=method.label,
        strategy=method.strategy,
        seeds=[run.seed for run in runs],
        accuracy=figures.accuracy,
        seed_free=figures.seed_free,
        difference=None if against_best is None else against_best.difference,
        p_value=test.p_value if test is not None and test.seeds != FEWEST_SEEDS - 1 else None,
        p_holm=None if against_best is None else against_best.p_holm,
        test="" if test is None else test.method,
        verdict=_verdict(against_best),
        why="" if against_best is None else against_best.why,
        macro_f1=figures.macro_f1,
        average_incremental=figures.incremental,
        learning_accuracy=figures.learning,
        forgetting=figures.forgetting,
        gap=gap,
        task_accuracy=figures.task,
        average_anytime=figures.anytime,
        probe_accuracy=figures.probe,
        probe_gain=figures.probe_gain,
        memory_bytes=mean_of_all([run.results.memory_bytes for run in runs]),
        total_parameters=network.total_parameters,
        trainable_parameters=max(run.trainable_parameters for run in runs),
        macs=network.macs,
        epochs=fmean(run.epochs for run in runs),
        steps=mean_of_all([run.steps for run in runs]),
        fit_seconds=fmean(run.learning_seconds for run in runs),
        energy_kwh=mean_of_all([run.energy_kwh for run in runs]),
        co2eq_kg=mean_of_all([run.co2eq_kg for run in runs]),
        on_front_energy=on_energy,
        on_front_time=on_time,
    )


def _verdict(against_best: Pair | None) -> Verdict:
    if against_best is None:
        return "best"
    if against_best.p_holm is None:
        return "not tested"
    return "significant" if against_best.p_holm < ALPHA else "not significant"


def _words(rows: Sequence[RankedMethod]) -> str:
    best, others = rows[0], rows[1:]
    reached = f"a test accuracy of {100 * best.accuracy.mean:.1f} % (mean of {plural(len(best.seeds), 'seed')}{_interval(best.accuracy)})"
    if not others:
        return f"{best.label} has {reached}. There is no other method to compare it with."
    worse = [row for row in others if row.verdict == "significant" and _difference(row) < 0]
    better = [row for row in others if row.verdict == "significant" and _difference(row) >= 0]
    close, untested = (
        [row for row in others if row.verdict == verdict] for verdict in ("not significant", "not tested")
    )
    if len(worse) == len(others):
        points = f"{-100 * max(_difference(row) for row in others):.1f} points more than"
        if len(others) == 1:
            return f"{best.label} is best, with {reached}: {points} {others[0].label}. The difference is significant."
        return f"{best.label} is best, with {reached}: at least {points} each of the {len(others)} others. All differences are significant."
    text = f"{best.label} has the highest mean: {reached}."
    if close:
        text += f" {_differences(close)} not significant."
    if worse:
        text += f" {_differences(worse)} significant."
    if better:
        text += f" On the seeds that both have, it is significantly worse than {_listed(better)}; its mean is over other seeds."
    if untested:
        whom = "the other methods" if len(untested) == len(others) else _listed(untested)
        reasons = list(dict.fromkeys(row.why for row in untested))
        text += (
            f" The difference to {whom} could not be tested ({'; '.join(reasons)}): a test needs at least {FEWEST_SEEDS} common "
            "seeds, and predictions for the same test images."
        )
    return text


def _differences(rows: Sequence[RankedMethod]) -> str:
    points = f", {100 * abs(_difference(rows[0])):.1f} points," if len(rows) == 1 else ""
    return f"The difference{'s' if len(rows) > 1 else ''} to {_listed(rows)}{points} {'are' if len(rows) > 1 else 'is'}"


def _how_many(rows: Sequence[RankedMethod], pairs: Pairs) -> str:
    """How many seeds or images would make the difference of the first two methods significant, if it is not."""
    pair = pairs.get((rows[1].label, rows[0].label)) if len(rows) > 1 else None
    if pair is None or pair.test is None or pair.test.method == "folds" or rows[1].verdict == "significant":
        return ""
    test = pair.test
    what = f"the difference between {rows[0].label} and {rows[1].label}"
    if not test.difference.mean:
        return f"How many seeds or images would {what} take? The accuracies are equal: no number would be enough."
    found = needed(test, POWER, ALPHA / max(1, pair.family))
    seeds, images = found["seeds"], found["images"]
    more = f"about {_round(images or 0):,} test images"
    if test.seeds == 1:
        answer = "With one seed, the spread over seeds is not known, and neither is the number of seeds."
        if images is not None and images > test.images:
            answer += f" These two trained models would take {more}."
    elif seeds is None and images is None:
        answer = f"More seeds alone (with these {test.images:,} test images) or more test images alone (with {test.seeds} seeds) are not enough: it takes more of both."
    else:
        enough = (
            "no number of seeds is enough" if seeds is None else f"about {_round(max(seeds, FEWEST_SEEDS)):,} seeds"
        )
        answer = f"With these {test.images:,} test images, {enough}; with {test.seeds} seeds, {'no number of test images is enough' if images is None else more}."
    corrected = f" after correction for {plural(pair.family, 'pair')}" if pair.family > 1 else ""
    return (
        f"How many seeds or images would {what} take to be significant? {answer} This is a rough estimate for a difference of "
        f"{100 * abs(test.difference.mean):.1f} points with the spread found here, to be significant{corrected} in {100 * POWER:.0f} % of such comparisons."
    )  # fmt: skip


def _round(count: int) -> int:
    """To two digits: the estimate is not more precise."""
    size = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // size) * size


def _interval(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return ""
    return f"; 95 % interval {100 * interval.low:.1f} to {100 * interval.high:.1f} %"


def _difference(row: RankedMethod) -> float:
    return 0.0 if row.difference is None else row.difference.mean


def _listed(rows: Sequence[RankedMethod], most: int = 6) -> str:
    labels = [row.label for row in rows]
    if len(labels) > most or len(labels) == 1:
        return few(labels, most)
    return f"{', '.join(labels[:-1])} and {labels[-1]}"
