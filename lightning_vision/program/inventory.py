"""Lists the installed learning strategies, datamodules, scenarios, recipes and configs, with one line each."""

from __future__ import annotations

import inspect
from pathlib import Path

import yaml
from rich.console import Console
from rich.markup import escape

import datamodules
import strategies
from lightning_vision import recipes
from lightning_vision.data import scenarios
from lightning_vision.learning.recipe import Recipe
from lightning_vision.program.plugins import load_plugins
from lightning_vision.program.shipped_configs import MODELINE


def print_inventory(configs: Path) -> None:
    """Print what is installed: classes, plugins with package and version, and the YAML files in the folder of configs."""
    console = Console(soft_wrap=True, highlight=False)
    plugins = load_plugins()
    own_scenarios = [cls for _, cls in inspect.getmembers(scenarios, inspect.isclass) if _is_scenario(cls)]
    own_recipes = [getattr(recipes, n) for n in recipes.__all__]
    rooms = (
        (
            "learning strategies (model.strategy)",
            [getattr(strategies, n) for n in strategies.__all__],
            "lightning_vision.strategies",
        ),
        ("datamodules (data)", [getattr(datamodules, n) for n in datamodules.__all__], "lightning_vision.datamodules"),
        ("scenarios (data.stream)", own_scenarios, ""),
        ("recipes (trainer.callbacks)", [cls for cls in own_recipes if issubclass(cls, Recipe)], ""),
    )
    for title, classes, group in rooms:
        console.print(f"[bold]{title}[/bold]")
        rows = [(cls.__name__, _first_line(cls)) for cls in classes]
        for plugin in (plugin for plugin in plugins if plugin.group == group):
            text = _first_line(plugin.found) if plugin.found is not None else f"skipped: {plugin.problem}"
            rows.append((plugin.name, f"{text} ({plugin.package} {plugin.version})"))
        _print_rows(console, rows)
    for title, folder in (
        ("configs (--config)", ""),
        ("comparisons (compare --config)", "compare"),
        ("sweeps (wandb sweep)", "sweeps"),
    ):
        console.print(f"[bold]{title}[/bold]")
        paths = [path.relative_to(configs) for path in sorted(configs.rglob("*.yaml"))]
        own = [path for path in paths if (path.parts[0] if path.parts[0] in ("compare", "sweeps") else "") == folder]
        _print_rows(console, [(f"configs/{path.as_posix()}", _comment((configs / path).read_text())) for path in own])


def _is_scenario(cls: type) -> bool:
    return issubclass(cls, scenarios.Scenario) and not inspect.isabstract(cls) and not cls.__name__.startswith("_")


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").split("\n")[0]


def _comment(text: str) -> str:
    """The first comment line of a config that is not for editors, or its keys."""
    first = next(line for line in text.split("\n") if not line.startswith(MODELINE))
    return first.lstrip("# ") if first.startswith("#") else ", ".join(yaml.safe_load(text) or {})


def _print_rows(console: Console, rows: list[tuple[str, str]]) -> None:
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        console.print(f"  {escape(name):{width}}  {escape(text)}")
    console.print()
