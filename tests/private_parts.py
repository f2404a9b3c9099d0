"""Finds what the packages use of other libraries that those do not promise to keep."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

OWN = ("lightning_vision", "strategies", "datamodules")


DOCUMENTED = {"_asdict", "_field_defaults", "_fields", "_replace", "_exit", "_repr_html_", "_repr_png_"}
"""Of named tuples, of ``os``, and by which IPython shows an object: private by their look alone."""


def is_private(name: str) -> bool:
    """Whether a name begins with one underscore: what Python itself names begins with two."""
    return name.startswith("_") and not name.startswith("__") and name != "_" and name not in DOCUMENTED


def private_parts(source: str, own: frozenset[str] = frozenset()) -> set[str]:
    """The private names of others in a module's source.

    Args:
        source: The module's text.
        own: Private names that its package's classes define, which ``self`` may have inherited.

    Returns:
        Attributes (``._name``), imports (``library._module`` or ``library.module._name``), and what is put in place of a
        library's own (``library.module.name =``).
    """
    tree = ast.parse(source)
    here = defined_names(tree)
    own_or_python = (*OWN, *sys.stdlib_module_names)
    modules = {alias: name for alias, name in _imported_modules(tree) if name.partition(".")[0] not in own_or_python}
    return set(_found(tree, here, own, modules))


def defined_names(tree: ast.AST) -> frozenset[str]:
    """The private names that a module defines: functions, classes, variables, parameters, and attributes of ``self``."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
            names.add(node.attr)
    return frozenset(filter(is_private, names))


def _found(tree: ast.AST, here: frozenset[str], own: frozenset[str], modules: dict[str, str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if any(map(is_private, alias.name.split("."))))
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] not in OWN:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name for name in names if any(map(is_private, name.split("."))))
        elif isinstance(node, ast.Attribute):
            known = here | own if _is_self(node.value) else here
            if is_private(node.attr) and node.attr not in known:
                yield f".{node.attr}"
            if isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name) and node.value.id in modules:
                yield f"{modules[node.value.id]}.{node.attr} ="
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "setattr"):
            words = [word.value for word in node.args[1:2] if isinstance(word, ast.Constant)]
            yield from (f".{word}" for word in words if isinstance(word, str) and is_private(word) and word not in here)


def _imported_modules(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.asname or alias.name.partition(".")[0], alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def _is_self(node: ast.AST) -> bool:
    return _is_super(node) or (isinstance(node, ast.Name) and node.id in ("self", "cls"))


def _is_super(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def left_to_others(trees: Iterable[ast.AST]) -> set[str]:
    """What classes define under a private name and never use themselves, ``super()`` aside: a library's class does."""
    defined: set[str] = set()
    used: set[str] = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.ClassDef):
            methods = [item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
            defined |= {item.name for item in methods if not item.decorator_list}
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
            defined.add(node.attr)
        elif isinstance(node, ast.Attribute) and not _is_super(node.value):
            used.add(node.attr)
        elif isinstance(node, ast.Name):
            used.add(node.id)
    return {f".{name}" for name in defined - used if is_private(name)}


def sources(root: Path) -> dict[str, str]:
    """The text of every module of the three packages, by its path from the root."""
    return {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for package in OWN
        for path in sorted((root / package).rglob("*.py"))
    }
