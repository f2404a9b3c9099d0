"""The house's own rules, read from the syntax trees: which room may import which, and how long some things are."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("lightning_vision", "strategies", "datamodules")
GROUND = ("errors", "array_types", "seeding", "class_path", "former_names")
"""One noun each; all may import them."""
MAY_IMPORT = {
    **{name: set[str]() for name in GROUND},
    "terminal": set[str](),
    "storage": {"terminal"},
    "images": {"storage", "terminal"},
    "drawing": {"storage", "terminal"},
    "data": {"images", "storage", "terminal"},
    "results": {"data", "storage", "terminal"},
    "tracking": {"data", "results", "storage", "terminal"},
    "learning": {"data", "images", "results", "storage", "terminal", "tracking"},
    "features": {"data", "images", "learning", "results", "storage", "terminal"},
    "run": {"data", "drawing", "features", "images", "learning", "results", "storage", "terminal", "tracking"},
    "explanation": {"data", "drawing", "features", "images", "learning", "results", "storage", "terminal", "tracking"},
    "trust": {"data", "drawing", "features", "images", "learning", "results", "storage", "terminal"},
    "recipes": {"data", "explanation", "images", "learning", "results", "terminal"},
    "report": {"drawing", "results", "storage", "terminal"},
    "data_report": {"data", "drawing", "features", "learning", "storage", "terminal"},
    "deployed": {"drawing", "images", "storage", "terminal"},
    "exporting": {
        *("data", "deployed", "drawing", "images", "learning", "recipes", "report", "results", "storage", "terminal"),
        "trust",
    },
    "program": {
        *(
            "data",
            "data_report",
            "datamodules",
            "explanation",
            "exporting",
            "features",
            "images",
            "learning",
            "recipes",
        ),
        *("results", "run", "storage", "strategies", "terminal", "tracking", "trust"),
    },
    "comparison": {
        *("data", "drawing", "images", "learning", "program", "report", "results", "storage", "terminal", "tracking"),
        *("datamodules", "strategies"),
    },
    "api": {
        *("comparison", "data", "data_report", "drawing", "explanation", "exporting", "images", "learning", "program"),
        *("report", "results", "run", "storage", "terminal", "trust"),
    },
    "cli": {"comparison", "deployed", "program", "terminal"},
    "testing": {"cli", "data", "images", "learning", "results", "run", "terminal"},
    "__main__": {"cli"},
    "strategies": {"terminal", "data", "features", "learning", "results"},
    "datamodules": {"data", "images", "storage", "terminal"},
}
"""The rooms from the ground up, and what each may import beside itself and the ground: CONTRIBUTING.md, "Structure"."""
FREE = {"lightning_vision"}
"""The shop window: its names are imported when they are first used."""


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def imports(path: Path) -> frozenset[str]:
    """Dotted names of all that a file imports, in functions and under TYPE_CHECKING too, below the modules of origin."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where an arrow points"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return frozenset(found)


SOURCES = {module_of(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def points_into(name: str, modules: set[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def room_of(name: str) -> str:
    """The room that a dotted name of ours lies in."""
    package, *rest = name.split(".")
    return rest[0] if package == "lightning_vision" and rest else package


def module_in(name: str) -> str | None:
    """The module of ours that a dotted name lies in; None of a library's."""
    return max((module for module in SOURCES if points_into(name, {module})), key=len, default=None)


def test_every_room_stands_in_the_table_and_is_there() -> None:
    assert {room_of(module) for module in SOURCES} - FREE == MAY_IMPORT.keys()


def test_the_table_points_down() -> None:
    rooms = [room for room in MAY_IMPORT if room not in ("strategies", "datamodules")]
    for floor, room in enumerate(rooms):
        assert not MAY_IMPORT[room] - set(rooms[:floor]) - {"strategies", "datamodules"}, room


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_what_the_table_allows(room: str) -> None:
    allowed = {room, *GROUND} | MAY_IMPORT[room]
    wrong = [
        f"{module} imports {name}"
        for module, path in SOURCES.items()
        if room_of(module) == room
        for name in sorted(imports(path))
        if points_into(name, set(PACKAGES))
        and name not in FREE
        and room_of(module_in(name) or name) not in allowed | FREE
    ]
    assert not wrong


def test_no_private_part_of_a_plugin_or_of_another_module_is_imported() -> None:
    own = {name for path in SOURCES.values() for name in imports(path) if points_into(name, set(PACKAGES))}
    assert not {name for name in own if any(part.startswith("_") and part != "__main__" for part in name.split("."))}


def test_modules_import_each_other_in_no_circle() -> None:
    arrows = {
        module: {target for name in imports(path) if (target := module_in(name)) and target != module}
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


def test_the_kit_alone_needs_pytest() -> None:
    others = {module: path for module, path in SOURCES.items() if room_of(module) != "testing"}
    assert not [
        module for module, path in others.items() if any(points_into(n, {"pytest", "_pytest"}) for n in imports(path))
    ]


def test_the_house_is_drawn_by_ls() -> None:
    inside = [path for path in (ROOT / "lightning_vision").iterdir() if path.name not in ("__pycache__", "py.typed")]
    assert len(inside) < 30
    assert len([path for path in inside if path.suffix == ".py"]) <= 8


def test_no_room_without_a_name() -> None:
    nameless = {"utils", "util", "helpers", "helper", "common", "misc"}
    tests = [path for path in (ROOT / "tests").rglob("*.py")]
    assert not [
        path for path in [*SOURCES.values(), *tests] if nameless & set(path.relative_to(ROOT).with_suffix("").parts)
    ]


def test_test_modules_have_names_of_their_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("*.py")]
    assert not {name for name in names if names.count(name) > 1}, "pytest imports a module by its name alone"


def test_no_file_is_longer_than_a_reader_holds_in_mind() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES.values()}
    assert not {path: length for path, length in lengths.items() if length > 400}


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("program.stream_cli", "StreamCLI"),
        ("run.stream_run", "StreamRun"),
        ("data.datamodule", "StreamDataModule"),
        ("learning.classifier", "ContinualClassifier"),
    ],
)
def test_the_largest_classes_are_under_300_lines(module: str, name: str) -> None:
    tree = ast.parse(SOURCES[f"lightning_vision.{module}"].read_text(encoding="utf-8"))
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    assert (found.end_lineno or 0) - found.lineno + 1 < 300


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
        ("strategies.move_to_data", "MoveToData", 42),
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
