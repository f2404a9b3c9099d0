"""Runs the missing cells of a comparison, then reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing

from rich.console import Console
from rich.markup import escape

from lightning_vision.comparison.estimate import print_estimate
from lightning_vision.comparison.executors.executor import Done, Executor
from lightning_vision.comparison.folder import ComparisonFolder
from lightning_vision.comparison.options import CompareOptions
from lightning_vision.comparison.plan import RUNS, Plan, PlannedRun, make_plan
from lightning_vision.comparison.reporting import build_report, print_report
from lightning_vision.comparison.tuning import candidates, earlier_cells, with_picks, write_tuning
from lightning_vision.comparison.wandb_logging import log_comparison, log_variants
from lightning_vision.results.not_evaluated import NOT_EVALUATED, SENTENCE, misses_test
from lightning_vision.storage.links_out import refuse_links_out
from lightning_vision.terminal.wording import plural


def run_comparison(
    options: CompareOptions,
    executor: Executor,
    command: str,
    console: Console,
    amend: Callable[[Plan], Plan] = lambda plan: plan,
) -> int:
    """Run the missing cells of a comparison, then report; the command line and Python call this.

    Args:
        options: The options of the comparison.
        executor: Runs the bases and the cells.
        command: The command of the comparison, for the record.
        console: The console for messages.
        amend: Changes the plan before it is compared with the folder.

    Returns:
        The exit code: 0 all cells are done, 1 some failed, 3 all are done and some have no test image.

    Raises:
        UserError: Something that the user can fix; nothing was run.
    """
    folder = ComparisonFolder(options.output)
    if not options.trust_run:
        refuse_links_out(folder.path)
    trials: Plan | None = None
    if options.tune:
        trials = amend(make_plan(options, candidates(options)))
        folder.check(trials)
        earlier_cells(options, trials, folder)  # refuses another number of experiences
        options = with_picks(options, trials, folder)
    plan = amend(make_plan(options))
    for remark in [*folder.check(plan), *plan.remarks]:
        console.print(escape(remark))
    if options.dry_run:
        if trials is not None:
            print_estimate(trials, folder, console)
        print_estimate(plan, folder, console)
        return 0
    with folder.held(command):
        if trials is not None:
            options = _tuned(options, trials, folder, console, executor)
            plan = amend(make_plan(options))
            folder.check(plan)
        folder.write(plan, plan.common, options.plain(), command)
        return _Comparison(options, plan, folder, console, executor).run()


def _tuned(
    options: CompareOptions, trials: Plan, folder: ComparisonFolder, console: Console, executor: Executor
) -> CompareOptions:
    """Run the missing trials, and return the options with what was chosen.

    Raises:
        TrainingError: No trial of a cell could be run.
    """
    folder.write_configs([*trials.bases, *trials.cells])
    tuning = _Comparison(options, trials, folder, console, executor)
    tuning.run_missing(
        f"Tuning {', '.join(options.tune)} on the validation images of the first {plural(options.tune_on, 'experience')}: "
        f"{plural(len(trials.cells), 'trial')}"
    )
    picks = write_tuning(options, trials, folder, tuning.failed)
    for words in picks.values():
        console.print(escape(words))
    return with_picks(options, trials, folder)


class _Comparison:
    """The runs of a plan: bases first, and each cell once its base is done."""

    def __init__(
        self, options: CompareOptions, plan: Plan, folder: ComparisonFolder, console: Console, executor: Executor
    ) -> None:
        self.options, self.plan, self.folder, self.console = options, plan, folder, console
        self.executor = executor
        self.failed: dict[str, Done] = {}
        self.ended = 0

    def run(self) -> int:
        """Run the missing cells and report; return the exit code."""
        done = self.run_missing("")
        self.folder.note_failures(self.failed, {run.name for run in done})
        return self._close([run for run in done if run.kind == RUNS])

    def run_missing(self, title: str) -> list[PlannedRun]:
        """Run the missing bases and cells, or trials.

        Args:
            title: Printed first; "": the numbers of cells, bases, strategies and seeds.

        Returns:
            All runs of the plan that are done.
        """
        self.folder.wait_for_writers([*self.plan.bases, *self.plan.cells])
        missing = {
            kind: [run for run in runs if self.folder.state(run) != "done"]
            for kind, runs in (("cells", self.plan.cells), ("bases", self.plan.bases))
        }
        needed = {cell.base for cell in missing["cells"]}
        bases = [base for base in missing["bases"] if base.name in needed]
        self.total = len(bases) + len(missing["cells"])
        if title:
            self.console.print(escape(title))
        else:
            self._open(len(missing["cells"]))
        started = time.monotonic()
        try:
            self._run_all([*bases, *missing["cells"]])
        except (KeyboardInterrupt, SystemExit):
            self.console.print("Stopped. Progress is saved; the same command resumes the comparison.")
            raise
        done = [run for run in [*self.plan.bases, *self.plan.cells] if self.folder.state(run) == "done"]
        if self.total:
            self.console.print(f"Ran {plural(self.total, 'run')} in {time.monotonic() - started:.0f} s.")
        return done

    def _open(self, missing: int) -> None:
        cells, bases = self.plan.cells, self.plan.bases
        shared = f", which share {plural(len(bases), 'base')}" if bases else ""
        done = len(cells) - missing
        self.console.print(
            f"{plural(len(cells), 'cell')}{shared}: {_strategies(len(self.options.strategies) or 1)}, "
            f"{plural(len(self.options.seeds), 'seed')}, {plural(len(self.options.points()), 'setting')}"
            f"{f'; {done} already done' if done else ''}"
        )
        for name in self.folder.earlier_cells(self.plan)[:1]:
            self.console.print(f"Cells of earlier calls stay in the report ({escape(name)}, ...).")

    def _run_all(self, runs: Sequence[PlannedRun]) -> None:
        by_name = {run.name: run for run in runs}
        with closing(self.executor.run([self.folder.job(run) for run in runs])) as ended:
            for done in ended:
                self.ended += 1
                self._tell(by_name[done.name], done)
        for run in runs:
            if run.base in self.failed:
                self.failed[run.name] = Done(run.name, 1, 0.0, f"its base {run.base} failed")

    def _tell(self, run: PlannedRun, done: Done) -> None:
        results = self.folder.results(run)
        head = f"[{self.ended}/{self.total}] {run.name}"
        if done.exit_code in (0, NOT_EVALUATED) and results is not None and self.folder.state(run) == "done":
            accuracy = results.test_accuracy[-1]
            shown = "not evaluated" if accuracy is None else f"{100 * accuracy:.1f} %"
            self.console.print(escape(f"{head}: {shown} in {done.seconds:.1f} s"))
            return
        error = done.error or "it ended before its last experience"
        self.failed[run.name] = Done(run.name, done.exit_code or 1, done.seconds, error)
        log = self.folder.job(run).log
        self.console.print(escape(f"{head}: failed (exit code {done.exit_code}): {error}\n  its output: {log}"))

    def _close(self, done: Sequence[PlannedRun]) -> int:
        """Check the finished cells, report, and send the comparison to W&B; return the exit code."""
        unequal = self._unequal_streams(done)
        for words in unequal:
            self.console.print(f"error: {escape(words)}")
        if self.options.log_variants == "runs":
            self._log_variants(done)
        if done:
            comparison, files = build_report([self.folder.path], self.folder.report)
            print_report(comparison, files, self.console, self.options.table)
            if self.total:
                log_comparison(comparison, files, self.folder, done[0])
        if self.failed:
            self.console.print(
                f"{plural(len(self.failed), 'run')} failed (see {self.folder.failures}); the same command runs them again."
            )
        if self.failed or unequal:
            return 1
        found = [self.folder.results(run) for run in done]
        if any(results is not None and misses_test(results.run.data) for results in found):
            self.console.print(SENTENCE)
            return NOT_EVALUATED
        return 0

    def _log_variants(self, done: Iterable[PlannedRun]) -> None:
        for cell in done:
            results, place = self.folder.results(cell), self.folder.directory(cell).path
            if results is not None and not (place / "variants").exists():
                log_variants(results, cell, place)

    def _unequal_streams(self, done: Iterable[PlannedRun]) -> list[str]:
        """Messages about cells of one seed and setting whose streams differ, because a strategy's config changes the data."""
        problems = []
        seen: dict[tuple[object, ...], tuple[str, str]] = {}
        for cell in done:
            results = self.folder.results(cell)
            key = (cell.seed, *sorted(cell.settings.items()))
            stream = "" if results is None else results.run.stream_hash
            first, expected = seen.setdefault(key, (cell.name, stream))
            if stream != expected:
                problems.append(
                    f"{cell.name} learned another stream than {first} (stream_hash {stream[:12]}, not {expected[:12]}): the "
                    "settings of its learning strategy change the data, so the two cannot be compared."
                )
        return problems


def _strategies(count: int) -> str:
    return "1 learning strategy" if count == 1 else f"{count} learning strategies"
