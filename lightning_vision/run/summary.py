"""The summary of a finished run, as tables."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightning_vision.class_path import strategy_name
from lightning_vision.results.schema import Results, Scores
from lightning_vision.terminal.wording import figure, plural, printable


def print_summary(results: Results, console: Console, most_classes: int = 20) -> None:
    """Print the results of a run: per variant and per class before and after, forgetting, seconds, kWh.

    Args:
        results: A finished run.
        console: The console to which it is printed.
        most_classes: With more classes, only those that changed most are shown, and the others are counted.
    """
    run, totals = results.run, results.totals
    strategy = strategy_name(run.strategy.class_path)
    console.print()
    console.rule(
        f"{_safe(run.name)}: {_safe(strategy)}, {_safe(run.scenario)}, {plural(run.experiences, 'experience')}, seed {run.seed}"
    )
    if results.variants:
        _print_table(_variants(results), console)
    elif results.accuracy_before is not None:
        _print_table(_experiences(results), console)
    if results.class_kinds:
        _print_table(_kinds(results), console)
    _print_table(_classes(results, most_classes), console)
    _print_table(_cost(results), console)
    features = results.features
    if features is not None and features.computed + features.reused:
        reused = (
            f", {features.reused} from the cache (about {features.saved_seconds:.1f} s saved)"
            if features.reused
            else ""
        )
        console.print(f"Features: {features.computed} computed in {features.seconds:.1f} s{reused}.")
    energy = results.energy
    if energy is not None:
        how = "measured" if energy.mode == "measured" else "estimated from the load (no power counter was found)"
        grid = "" if energy.grid_gco2_per_kwh is None else f", {energy.grid_gco2_per_kwh:.0f} g CO2eq/kWh"
        console.print(
            f"Energy was {how}; grid of {_safe(energy.country)}{grid}. Total: {_kwh(totals.energy_kwh)} kWh, {_kwh(totals.co2eq_kg)} kg CO2eq."
        )
        if results.without_energy:
            console.print(
                f"The energy of {plural(results.without_energy, 'experience')} is not known and is not in the total."
            )
    if results.average_anytime_accuracy is not None:
        measured = plural(len(results.anytime_accuracy or []), "measurement")
        console.print(f"Average anytime accuracy: {_percent(results.average_anytime_accuracy)} ({measured}).")
    if results.memory_bytes is not None:
        console.print(f"Memory of the learning strategy: {figure(results.memory_bytes)} bytes.")
    if results.budget is not None:
        unit = {"steps": "optimizer steps", "kwh": "kWh"}[results.budget.kind]
        console.print(f"Budget: {figure(results.budget.spent)} of {figure(results.budget.limit)} {unit} used.")
    if results.probe is not None and (probed := results.probe.accuracy[-1]) is not None:
        console.print(f"Linear probe on the backbone's features: {100 * probed:.1f} % on the classes seen.")
    for note in results.notes:
        console.print(f"Note: {_safe(note)}")


def _print_table(table: Table, console: Console) -> None:
    """A table with its caption below it: inside, rich would wrap the caption to the width of the table."""
    caption, table.caption = table.caption, None
    console.print(table)
    if caption is not None:
        console.print(caption)


def _variants(results: Results) -> Table:
    table = Table(title="Test accuracy before and after, per variant")
    for heading in ("variant", "before", "after", "change", "forgetting", "n*epsilon per class"):
        table.add_column(heading, justify="left" if heading == "variant" else "right")
    from lightning_vision.results.scores import forgetting

    before, last = results.accuracy_before, (results.picked_variant or [None])[-1]
    for name, variant in results.variants.items():
        after = variant.test_accuracy[-1]
        moved = list(variant.extra.get("n_epsilon", {}).values())
        span = f"{min(moved):.2g} to {max(moved):.2g}" if moved else ""
        lost = forgetting(variant.accuracy_matrix)
        row = (
            name,
            _percent(before),
            _percent(after),
            _points(before, after),
            _points(None if lost is None else 0.0, lost),
            span,
        )
        table.add_row(*(_safe(cell) for cell in row), style="bold" if name == last else "")
    table.caption = f"{_safe(str(last))} was picked on validation data. Change and forgetting are in percentage points."
    return table


def _experiences(results: Results) -> Table:
    table = Table(title="Test accuracy after each experience")
    task = None if results.task is None else results.task.accuracy
    for heading in ("experience", "all classes", "classes seen", *(() if task is None else ("experience given",))):
        table.add_column(heading, justify="left" if heading == "experience" else "right", no_wrap=True)
    if results.initial_accuracy is not None:
        table.add_row("0 given base", _percent(results.initial_accuracy), "")
    for record, accuracy, seen in zip(results.experiences, results.test_accuracy, results.seen_accuracy, strict=True):
        within = [] if task is None else [_percent(task[record.index])]
        table.add_row(_safe(f"{record.index + 1} {record.name}"), _percent(accuracy), _percent(seen), *within)
    if results.forgetting is not None:
        table.caption = (
            f"Forgetting {100 * results.forgetting:.1f} points, average accuracy {_percent(results.average_accuracy)}."
        )
    return table


def _kinds(results: Results) -> Table:
    """The classes of the base and the new ones apart."""
    table = Table(title="Test accuracy on the classes of the base and on new ones")
    for heading in ("classes", "number", "test images", "before", "after", "change"):
        table.add_column(heading, justify="left" if heading == "classes" else "right", no_wrap=True)
    for kind, found in (results.class_kinds or {}).items():
        before, after = found.initial_accuracy, found.accuracy[-1]
        shown = _percent(after) if found.images else "not evaluated"
        table.add_row(
            {"base": "of the base", "new": "new"}[kind], str(len(found.classes)), str(found.images), _percent(before),
            shown, _points(before, after),
        )  # fmt: skip
    return table


def _classes(results: Results, most: int) -> Table:
    """The recall of each class, and its change since the learning strategy began."""
    table = Table(title="Per class on the test set")
    for heading in ("class", "images", "recall", "precision", "F1", "recall before", "change in recall"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    first = None if results.accuracy_before is None else results.first_test
    names = list(results.test.per_class)

    def change(name: str) -> float:
        now = results.test.per_class[name]["recall"] or 0.0
        return abs(now - (_recall(first, name) or 0.0))

    shown = set(sorted(names, key=change, reverse=True)[:most])
    for name in names:
        if name in shown:
            row = results.test.per_class[name]
            earlier = _recall(first, name)
            cells = (
                name,
                str(row["support"]),
                _percent(row["recall"]),
                _percent(row["precision"]),
                _percent(row["f1"]),
            )
            table.add_row(*(_safe(cell) for cell in cells), _percent(earlier), _points(earlier, row["recall"]))
    if len(names) > most:
        table.caption = (
            f"The {most} of {len(names)} classes that changed most; all are in results.json and confusion_matrix.csv."
        )
    return table


def _recall(scores: Scores | None, name: str) -> float | None:
    return None if scores is None else scores.per_class[name]["recall"]


def _cost(results: Results) -> Table:
    table = Table(title="Cost")
    for heading in ("experience", "images", "epochs", "seconds", "kWh", "kg CO2eq", "evaluation s"):
        table.add_column(heading, justify="left" if heading == "experience" else "right", no_wrap=True)
    records = results.experiences
    for record in records if len(records) <= 20 else records[:1] + records[-9:]:
        table.add_row(
            _safe(f"{record.index + 1} {record.name}"), str(record.train_samples), str(record.epochs), f"{record.seconds:.1f}",
            _kwh(record.energy_kwh), _kwh(record.co2eq_kg), f"{record.evaluation.seconds:.1f}",
        )  # fmt: skip
    evaluation = sum(record.evaluation.seconds for record in records)
    learning = sum(record.seconds for record in records)
    table.add_section()
    table.add_row(
        "learning, total",
        "",
        "",
        f"{learning:.1f}",
        _sum([r.energy_kwh for r in records]),
        _sum([r.co2eq_kg for r in records]),
        f"{evaluation:.1f}",
    )
    return table


def _safe(text: str) -> str:
    """A name from a disk without control characters and changes of direction, and without rich's markup."""
    return escape(printable(text))


def _sum(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return _kwh(sum(known) if known else None)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _points(before: float | None, after: float | None) -> str:
    return "-" if before is None or after is None else f"{100 * (after - before):+.1f}"


def _kwh(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
