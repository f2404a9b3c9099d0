"""The budget of a run: what is spent, and what the next experience may spend."""

from __future__ import annotations

from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.budget import Budget, BudgetStop
from lightning_vision.learning.stage_tally import TallyInCheckpoint
from lightning_vision.results import schema
from lightning_vision.run.run_context import RunContext


def check_budget(context: RunContext) -> None:
    """Refuse a budget in kWh where the energy cannot be read at each step.

    Raises:
        ConfigError: The energy is not measured, or by other processes too.
    """
    budget = context.options.budget
    if budget is None or budget.kind == "steps":
        return
    if not context.meter.enabled:
        raise ConfigError(
            "budget: kwh needs the energy, which energy.enabled=false does not measure. Give a budget in steps."
        )
    if context.process.world_size > 1:
        raise ConfigError(
            f"budget: kwh needs one process, found {context.process.world_size}: the energy of others is known after an "
            "experience only. Give a budget in steps, or --trainer.devices 1."
        )


def budget_stop(context: RunContext, experience: Experience, tally: TallyInCheckpoint) -> list[BudgetStop]:
    """The callback that keeps the budget in an experience; none without a budget, in the base, and of steps for a closed form."""
    budget = context.options.budget
    if budget is None or experience.is_base:
        return []
    if budget.kind == "steps" and context.model.learner.kind == "closed_form":  # it takes none
        return []
    stream = list(context.datamodule.stream)
    increments = [each.index for each in stream if not each.is_base]
    until = budget.until(increments.index(experience.index) + 1, len(increments))
    spent = spent_on(budget, context.record.experiences, increments)
    return [BudgetStop(budget, until, spent, lambda: tally.trained.steps, context.meter, tally.task)]


def spent_on(budget: Budget, records: list[schema.ExperienceRecord], increments: list[int]) -> float:
    """What the finished increments took, in the unit of the budget."""
    learned = [record for record in records if record.index in increments]
    if budget.kind == "steps":
        return float(sum(record.steps or 0 for record in learned))
    return sum(record.energy_kwh or 0.0 for record in learned)


def budget_record(context: RunContext) -> schema.Budget | None:
    """What results.json says of the budget; None without one."""
    budget = context.options.budget
    if budget is None:
        return None
    increments = [each.index for each in context.datamodule.stream if not each.is_base]
    records = context.record.experiences
    return schema.Budget(
        kind=budget.kind,
        limit=budget.limit,
        spent=spent_on(budget, records, increments),
        stopped=[record.index for record in records if record.stopped_by_budget],
    )
