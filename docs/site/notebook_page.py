"""A notebook as a page: its Markdown, code to copy, and the outputs with which it is stored."""

import base64
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat


@dataclass
class NotebookPage:
    """Markdown, and the images to which it refers by name."""

    text: str
    images: dict[str, bytes] = field(default_factory=dict)


def fence(text: str, language: str) -> str:
    """A block of code."""
    return f"```{language}\n{text.rstrip()}\n```"


def table(html: str) -> str:
    """HTML of pandas or of a run, without its style sheet and without attributes of looks, in a box that scrolls."""
    html = re.sub(r"<style.*?</style>", "", html, flags=re.DOTALL)
    html = re.sub(r' (?:border|class|style)="[^"]*"', "", html)
    lines = [line.strip() for line in html.splitlines() if line.strip()]  # an empty line would end the HTML in Markdown
    return '<div class="output">\n' + "\n".join(lines) + "\n</div>"


def output_of(output: Any, name: str, page: NotebookPage) -> str:
    """One output of a cell as Markdown; an image is added to the page."""
    if output.output_type == "stream":
        return fence(output.text, "text")
    data = output.data
    if "image/png" in data:
        page.images[name] = base64.b64decode(data["image/png"])
        return f"![Output of the cell above]({name})"
    return table(data["text/html"]) if "text/html" in data else fence(data["text/plain"], "text")


def notebook_page(path: Path) -> NotebookPage:
    """The page of a stored notebook.

    Args:
        path: The notebook; its file is offered beside the page under the same name.
    """
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    page = NotebookPage("")
    parts = []
    for number, cell in enumerate(notebook.cells):
        parts.append(cell.source if cell.cell_type == "markdown" else fence(cell.source, "python"))
        if number == 0:
            parts.append(f"{{download}}`Download this notebook <{path.name}>`")
        for place, output in enumerate(cell.get("outputs", [])):
            parts.append(output_of(output, f"{path.stem}-{number}-{place}.png", page))
    page.text = "\n\n".join(parts) + "\n"
    return page
