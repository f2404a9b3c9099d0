"""The house's own rules, read from the syntax trees: which room may import which, and how long some things are."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("lightning_vision", "strategies", "datamodules")
# The command line, comparisons of its runs, and what composes the whole stand above the strategies and datamodules, and the kit for plugin authors
# beside them, which runs the program; all else is the core below.
TOP = {
    "lightning_vision.cli",
    "lightning_vision.comparison",
    "lightning_vision.program",
    "lightning_vision.inventory",
    "lightning_vision.__main__",
    "lightning_vision.testing",
}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Dotted names of all that a file imports, in functions and under TYPE_CHECKING too, below the modules of origin."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where an arrow points"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


SOURCES = {module_of(path): path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))}


def points_into(name: str, modules: set[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def test_the_sources_are_found() -> None:
    assert {"lightning_vision", "strategies.move_to_data", "datamodules.digits", *TOP} <= SOURCES.keys()


@pytest.mark.parametrize("module", [name for name in SOURCES if name.startswith(("strategies", "datamodules"))])
def test_strategies_and_datamodules_know_neither_each_other_nor_the_program(module: str) -> None:
    other = "datamodules" if module.startswith("strategies") else "strategies"
    wrong = {name for name in imports(SOURCES[module]) if points_into(name, {other, *TOP})}
    assert not wrong


@pytest.mark.parametrize(
    "module", [name for name in SOURCES if name.startswith("lightning_vision") and not points_into(name, TOP)]
)
def test_the_core_knows_no_strategy_no_datamodule_and_no_program(module: str) -> None:
    wrong = {name for name in imports(SOURCES[module]) if points_into(name, {"strategies", "datamodules", *TOP})}
    assert not wrong


@pytest.mark.parametrize("module", SOURCES)
def test_no_private_part_of_a_plugin_or_of_another_module_is_imported(module: str) -> None:
    own = {name for name in imports(SOURCES[module]) if points_into(name, set(ROOMS))}
    private = {name for name in own if any(part.startswith("_") and part != "__main__" for part in name.split("."))}
    assert not private


def test_modules_import_each_other_in_no_circle() -> None:
    arrows = {
        module: {
            target for name in imports(path) for target in SOURCES if points_into(name, {target}) and target != module
        }
        for module, path in SOURCES.items()
    }
    # A package's own __init__ is a shop window, not a floor: whoever imports a module passes it.
    for window in [module for module, path in SOURCES.items() if path.name == "__init__.py"]:
        del arrows[window]
    while arrows:
        free = [module for module, targets in arrows.items() if not targets & arrows.keys()]
        assert free, f"a circle among {sorted(arrows)}"
        for module in free:
            del arrows[module]


@pytest.mark.parametrize("module", [name for name in SOURCES if not name.startswith("lightning_vision.testing")])
def test_the_kit_alone_needs_pytest(module: str) -> None:
    assert not {name for name in imports(SOURCES[module]) if points_into(name, {"pytest", "_pytest"})}


def test_no_room_without_a_name() -> None:
    nameless = {"utils", "util", "helpers", "helper", "common", "misc"}
    tests = [path for path in (ROOT / "tests").rglob("*.py")]
    assert not [
        path for path in [*SOURCES.values(), *tests] if nameless & set(path.relative_to(ROOT).with_suffix("").parts)
    ]


def lines_of_code(node: ast.AST, source: str) -> int:
    """Lines of a class or file without docstrings, comments and blank lines."""
    first, last = getattr(node, "lineno", 1), getattr(node, "end_lineno", len(source.splitlines()))
    skipped: set[int] = set()
    for inner in ast.walk(node):
        if isinstance(inner, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(inner) is not None:
            docstring = inner.body[0]
            skipped |= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    lines = enumerate(source.splitlines(), start=1)
    wanted = [text.strip() for number, text in lines if first <= number <= last and number not in skipped]
    return sum(bool(text) and not text.startswith("#") for text in wanted)


@pytest.mark.parametrize(
    ("module", "name", "most"),
    [
        ("strategies.full_fine_tune", "FullFineTune", 10),
        ("strategies.head_only", "HeadOnly", 2),
        ("strategies.move_to_data", "MoveToData", 40),
    ],
)
def test_a_strategy_is_short(module: str, name: str, most: int) -> None:
    source = SOURCES[module].read_text(encoding="utf-8")
    found = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == name)
    assert lines_of_code(found, source) <= most


def test_the_example_strategies_of_the_docs_are_short() -> None:
    """A new gradient strategy takes at most 30 lines, imports included."""
    for page in sorted((ROOT / "docs").glob("*.md")):
        for block in page.read_text(encoding="utf-8").split("```python\n")[1:]:
            code = block.split("```")[0]
            if "(Strategy):" in code:
                assert lines_of_code(ast.parse(code), code) <= 30, page
