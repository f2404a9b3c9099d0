"""Remarks for the reader of a report: what is missing, what differs, and why groups are not ranked together."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_vision.report.runs import Group, Method, ReportRun
from lightning_vision.results.resume_options import flatten
from lightning_vision.terminal.wording import few, listed, plural

PINS = ("seed", "random_state")
"""Names of arguments that fix a learning strategy's random draws; those of a part in scikit-learn are ``part__random_state``."""


def remarks_on(methods: Sequence[Method], bases: Sequence[ReportRun]) -> list[str]:
    """The remarks on the runs of one group."""
    runs = [run for method in methods for run in method.runs]
    return [
        *_unfinished(runs),
        *_unbalanced(methods),
        *_streams([*runs, *bases]),
        *_own_bases(runs),
        *_pinned(methods),
        *_one_base(runs),
        *_energy(runs),
    ]


def why_apart(groups: Sequence[Group], test_sets: Sequence[str]) -> list[str]:
    """For each of several groups, why it is not ranked with the first one, and the first not with the second.

    Args:
        groups: At least two.
        test_sets: What identifies each one's test images.
    """
    sentences = []
    for number, group in enumerate(groups):
        other = 1 if number == 0 else 0
        reasons = _differences(group, groups[other], test_sets[number] == test_sets[other])
        sentences.append(f"Not ranked together with “{groups[other].name}”: {'; '.join(reasons)}.")
    return sentences


def _differences(group: Group, other: Group, same_images: bool) -> list[str]:
    one, two = _any_run(group).results, _any_run(other).results
    reasons = []
    if set(group.class_names) != set(other.class_names):
        only = [name for name in group.class_names if name not in set(other.class_names)]
        missing = [name for name in other.class_names if name not in set(group.class_names)]
        words = [f"{len(group.class_names)} classes here and {len(other.class_names)} there"]
        words += [f"only here {listed([name[:40] for name in only], 3)}"] if only else []
        words += [f"only there {listed([name[:40] for name in missing], 3)}"] if missing else []
        reasons.append(f"the classes differ ({', '.join(words)})")
    elif not same_images:
        reasons.append(f"the test images differ ({_images(group)} here, {_images(other)} there)")
    if one.run.scenario != two.run.scenario:
        reasons.append(f"the scenario is {one.run.scenario} here and {two.run.scenario} there")
    if one.run.experiences != two.run.experiences:
        reasons.append(
            f"the stream has {plural(one.run.experiences, 'experience')} here and {two.run.experiences} there"
        )
    return reasons


def _any_run(group: Group) -> ReportRun:
    return [*group.runs, *group.bases][0]


def _images(group: Group) -> int:
    return sum(scores["support"] for scores in _any_run(group).results.test.per_class.values())


def _unfinished(runs: Sequence[ReportRun]) -> list[str]:
    found = []
    for run in runs:
        if run.unfinished is not None:
            found.append(f"{run.method} with seed {run.seed} is not finished ({run.unfinished}) and is not ranked.")
        elif run.accuracy is None:
            found.append(f"{run.method} with seed {run.seed} has no test accuracy and is not ranked.")
    return found


def _unbalanced(methods: Sequence[Method]) -> list[str]:
    """Seeds that some methods do not have."""
    have = {method.label: {run.seed for run in method.complete} for method in methods}
    every = sorted(set().union(*have.values()))
    missing = {label: [seed for seed in every if seed not in seeds] for label, seeds in have.items()}
    if not any(missing.values()):
        return []
    lacking = [f"{label} has no complete run with seed {', '.join(map(str, seeds))}" for label, seeds in missing.items() if seeds]  # fmt: skip
    return [f"Not every method has every seed: {'; '.join(lacking)}. Means are over the available seeds, differences over common seeds."]  # fmt: skip


def _streams(runs: Sequence[ReportRun]) -> list[str]:
    """Seeds whose runs did not learn the same experiences in the same order."""
    hashes: dict[int, set[str]] = {}
    for run in runs:
        hashes.setdefault(run.seed, set()).add(run.results.run.stream_hash)
    seeds = [str(seed) for seed, found in sorted(hashes.items()) if len(found) > 1]
    if not seeds:
        return []
    return [f"Runs with seed {', '.join(seeds)} did not all learn the same experiences in the same order (their stream hashes differ). This may explain part of the differences."]  # fmt: skip


def _own_bases(runs: Sequence[ReportRun]) -> list[str]:
    own = list(dict.fromkeys(run.method for run in runs if run.trained_base))
    if not own or all(run.trained_base for run in runs):
        return []
    return [f"{few(own)} trained the base in the run; the others start from a given one. The cost of what a strategy does with the data of the base is included for the others only."]  # fmt: skip


def _pinned(methods: Sequence[Method]) -> list[str]:
    """Learning strategies whose options fix a seed, so that their random draws are the same for all seeds."""
    found = []
    for method in methods:
        seeds: dict[tuple[str, int], list[int]] = {}
        for run in method.runs:
            for key, value in flatten(run.results.run.strategy.init_args):
                if key.rsplit(".", 1)[-1].rsplit("__", 1)[-1] in PINS and type(value) is int:
                    seeds.setdefault((key, value), []).append(run.seed)
        for (key, value), of in seeds.items():
            where = (
                "in all its runs" if len(of) == len(method.runs) else f"in the runs of seed {', '.join(map(str, of))}"
            )
            found.append(f"{method.label}: the option {key} was fixed to {value} {where}, so its random draws are not part of the spread over seeds.")  # fmt: skip
    return found


def _one_base(runs: Sequence[ReportRun]) -> list[str]:
    """Whether every seed starts from the same weights: the intervals do not include the spread over bases then."""
    bases = {run.results.base.from_checkpoint for run in runs}
    if len(bases) != 1 or None in bases or len({run.seed for run in runs}) < 2:
        return []
    return ["All runs start from one base, whatever their seed: intervals and tests apply to this base and do not include the spread over bases."]  # fmt: skip


def _energy(runs: Sequence[ReportRun]) -> list[str]:
    """Whether energy was measured in some runs and estimated in others: the two cannot be compared."""
    modes = {None if run.results.energy is None else run.results.energy.mode for run in runs}
    if len(modes) <= 1:
        return []
    words = sorted("not tracked" if mode is None else mode for mode in modes)
    return [f"The energy of some runs is {words[0]} and of others {' or '.join(words[1:])}: compare times instead of energy."]  # fmt: skip
