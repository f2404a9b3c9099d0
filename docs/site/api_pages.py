"""Pages of the API, for all public names of a package: Sphinx fills them from the docstrings."""

import ast
from dataclasses import dataclass

from repository_pages import ROOT


@dataclass(frozen=True)
class ApiPage:
    """A package whose public names are one page.

    Args:
        package: Its dotted name.
        title: The page's title.
        words: What stands below the title, in reStructuredText.
        members: Whether methods are shown. Those of strategies and recipes are hooks, which one page describes for all.
    """

    package: str
    title: str
    words: str
    members: bool

    @property
    def place(self) -> str:
        """The page's path on the site."""
        return f"api/{self.package}.rst"

    @property
    def names(self) -> list[str]:
        """What the package imports from its own modules: functions, then classes, in the order of the alphabet."""
        source = (ROOT / self.package.replace(".", "/") / "__init__.py").read_text(encoding="utf-8")
        own = f"{self.package.partition('.')[0]}."
        imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
        names = [alias.name for node in imports for alias in node.names if (node.module or "").startswith(own)]
        return sorted(names, key=lambda name: (name[0].isupper(), name.lower()))

    @property
    def text(self) -> str:
        """The page."""
        parts = [f"{self.title}\n{'=' * len(self.title)}", self.words]
        for name in self.names:
            kind = "autoclass" if name[0].isupper() else "autofunction"
            members = "\n   :members:" if self.members and kind == "autoclass" else ""
            parts.append(f"{name}\n{'-' * len(name)}\n\n.. {kind}:: {self.package}.{name}{members}")
        return "\n\n".join(parts) + "\n"


API_PAGES = (
    ApiPage(
        "lightning_vision",
        "Python API",
        "The names of ``import lightning_vision as lv``. :doc:`/python` shows them in use.",
        members=True,
    ),
    ApiPage(
        "strategies",
        "Strategies",
        "Each class with its equation, options and differences from the paper. :doc:`/strategies` compares them.",
        members=False,
    ),
    ApiPage(
        "datamodules",
        "Datamodules",
        "Each class reads one layout of files. :doc:`/data` explains the options that all of them have.",
        members=False,
    ),
    ApiPage(
        "lightning_vision.recipes",
        "Recipes",
        "Callbacks for ``trainer.callbacks``. :doc:`/recipes` shows how to combine them.",
        members=False,
    ),
)
