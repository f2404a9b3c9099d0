"""The answer: which method is best, by how much, and whether that can be told."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from lightning_vision.report.folds import fold_of
from lightning_vision.report.fronts import front_points
from lightning_vision.report.matrices import matrix_of
from lightning_vision.report.means import mean_of_all, mean_of_known
from lightning_vision.report.method_figures import MethodFigures, figures_of, folded_figures
from lightning_vision.report.pairs import Pair, Pairs, fold_pairs, image_pairs
from lightning_vision.report.proportion import Interval
from lightning_vision.report.runs import Method, RankedMethod, Ranking, ReportRun, Verdict
from lightning_vision.report.sample_size import needed
from lightning_vision.report.statistics import ALPHA, FEWEST_SEEDS
from lightning_vision.terminal.wording import few, plural

POWER = 0.8
"""The probability of finding the difference that "how many would it take" is reckoned with."""


def best_first(methods: Sequence[Method]) -> list[Method]:
    """By mean test accuracy after the last experience; ties by label, methods without a complete run last."""

    def place(method: Method) -> tuple[bool, float, str]:
        return not method.complete, -(mean_of_known(run.accuracy for run in method.complete) or 0.0), method.label  # fmt: skip

    return sorted(methods, key=place)


def rank(methods: Sequence[Method], bases: Sequence[ReportRun]) -> Ranking:
    """Rank the methods that have a complete run.

    Args:
        methods: Learning strategies on the same test images, or on the folds of the same data.
        bases: Runs of the base alone, for the front of accuracy against cost.
    """
    ranked = [method for method in best_first(methods) if method.complete]
    if not ranked:
        return Ranking([], "No run is complete yet, so there is nothing to rank.", False)
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
    rows = [
        _row(method, figures[method.label], pairs.get((method.label, best)), method.label in fronts["energy"], method.label in fronts["time"])
        for method in ranked
    ]  # fmt: skip
    can_tell = any(pair.p_holm is not None for pair in pairs.values())
    return Ranking(rows, _words(rows), can_tell, _how_many(rows, pairs))


def _row(
    method: Method, figures: MethodFigures, against_best: Pair | None, on_energy: bool, on_time: bool
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
        average_incremental=mean_of_all([run.results.average_incremental_accuracy for run in runs]),
        forgetting=figures.forgetting,
        total_parameters=network.total_parameters,
        trainable_parameters=max(run.trainable_parameters for run in runs),
        macs=network.macs,
        epochs=fmean(run.epochs for run in runs),
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
        return "cannot tell"
    return "different" if against_best.p_holm < ALPHA else "not told apart"


def _words(rows: Sequence[RankedMethod]) -> str:
    best, others = rows[0], rows[1:]
    reached = f"{100 * best.accuracy.mean:.1f} % of the test images right (mean of {plural(len(best.seeds), 'seed')}{_interval(best.accuracy)})"  # fmt: skip
    if not others:
        return f"{best.label} ends with {reached}. There is no other method to compare it with."
    said: dict[str, list[RankedMethod]] = {"better": [], "worse": [], "not told apart": [], "cannot tell": []}
    for row in others:
        side = "worse" if _difference(row) < 0 else "better"
        said[side if row.verdict == "different" else row.verdict].append(row)
    if len(said["worse"]) == len(others):
        points = f"{-100 * max(_difference(row) for row in others):.1f} points more than"
        if len(others) == 1:
            return (
                f"{best.label} is best, with {reached}: {points} {others[0].label}, and the difference is significant."
            )
        return f"{best.label} is best, with {reached}: at least {points} each of the {len(others)} others, and all differences are significant."
    text = f"{best.label} has the highest mean, with {reached}."
    if said["not told apart"]:
        text += f" {_differences(said['not told apart'])} not significant."
    if said["worse"]:
        text += f" {_differences(said['worse'])} significant."
    if said["better"]:
        text += (
            f" On the seeds that both have it is significantly worse than {_listed(said['better'])}: its mean is over other "
            "seeds."
        )
    if said["cannot tell"]:
        whom = "the others" if len(said["cannot tell"]) == len(others) else _listed(said["cannot tell"])
        reasons = list(dict.fromkeys(row.why for row in said["cannot tell"]))
        text += (
            f" Whether it is really better than {whom} this page cannot tell ({'; '.join(reasons)}): that takes at least "
            f"{FEWEST_SEEDS} seeds that both have, and their predictions for the same test images."
        )
    return text


def _differences(rows: Sequence[RankedMethod]) -> str:
    points = f", {100 * abs(_difference(rows[0])):.1f} points," if len(rows) == 1 else ""
    return f"The difference{'s' if len(rows) > 1 else ''} to {_listed(rows)}{points} {'are' if len(rows) > 1 else 'is'}"


def _how_many(rows: Sequence[RankedMethod], pairs: Pairs) -> str:
    """What would tell the best from the second, where that is not told."""
    pair = pairs.get((rows[1].label, rows[0].label)) if len(rows) > 1 else None
    if pair is None or pair.test is None or pair.test.method == "folds" or rows[1].verdict == "different":
        return ""
    test = pair.test
    whom = f"tell {rows[0].label} from {rows[1].label}"
    if not test.difference.mean:
        return f"How many would it take to {whom}? Their accuracies are equal: no number would do."
    found = needed(test, POWER, ALPHA / max(1, pair.family))
    seeds, images = found["seeds"], found["images"]
    here = f"these {test.images:,} test images"
    more = f"about {_round(images or 0):,} test images"
    if test.seeds == 1:
        told = "With one seed it is not known how much seeds change: no number of seeds can be named."
        if images is not None and images > test.images:
            told += f" To tell these two trained models apart would take {more}."
    elif seeds is None and images is None:
        told = f"Neither more seeds on {here} nor more test images with {test.seeds} seeds would do: it takes more of both."
    else:
        on_these = "no number of seeds" if seeds is None else f"about {_round(max(seeds, FEWEST_SEEDS)):,} seeds"
        told = (
            f"On {here} {on_these}; with {test.seeds} seeds {'no number of test images' if images is None else more}."
        )
    corrected = f" after correction for {plural(pair.family, 'pair')}" if pair.family > 1 else ""
    return (
        f"How many would it take to {whom}? {told} That is for a difference of {100 * abs(test.difference.mean):.1f} points and the spread "
        f"found here, to be significant{corrected} in {100 * POWER:.0f} % of such comparisons: an order of magnitude."
    )  # fmt: skip


def _round(count: int) -> int:
    """Two figures: the rest would be a precision that is not there."""
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
