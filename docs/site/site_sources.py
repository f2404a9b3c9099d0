"""The sources of the site, gathered in one folder: pages of the whole repository, notebooks, pages of the API, navigation.

The headings and tables of docs/index.md are the navigation, so a new page needs a row there and nothing here.
"""

import re
import shutil
from pathlib import Path
from posixpath import normpath

from api_pages import API_PAGES
from notebook_page import notebook_page
from repository_pages import DOCS, ROOT, linked_files, pages, place_of, with_links_of_the_site


def write_sources(folder: Path) -> None:
    """Write everything that Sphinx reads.

    Args:
        folder: Is made.
    """
    for path in pages():
        text = (ROOT / path).read_text(encoding="utf-8")
        if path == "README.md":
            text += navigation()
        write(folder / place_of(path), with_links_of_the_site(text, path))
        for linked in linked_files(path) - set(pages()):
            copy(linked, folder)
    for notebook in sorted((DOCS / "notebooks").glob("*.ipynb")):
        path = notebook.relative_to(ROOT).as_posix()
        made = notebook_page(notebook)
        write(folder / place_of(path), with_links_of_the_site(made.text, path))
        shutil.copy(notebook, folder / "notebooks")
        for name, image in made.images.items():
            (folder / "notebooks" / name).write_bytes(image)
    for page in API_PAGES:
        write(folder / page.place, page.text)


def write(file: Path, text: str) -> None:
    """A file, and the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def copy(path: str, folder: Path) -> None:
    """A file to which a page links; a notebook is a page of its own, and a link that leads nowhere is Sphinx's to report."""
    if (ROOT / path).is_file() and not path.endswith(".ipynb"):
        there = folder / place_of(path)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, there)


def navigation() -> str:
    """Hidden tables of contents: one for each heading of docs/index.md, with a page for each row below it, and the API."""
    parts = [contents("", ["All pages <pages.md>"])]
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        rows = re.findall(r"^\| \[([^\]]+)\]\(([^)]+)\)", section, flags=re.MULTILINE)
        if rows:
            entries = [f"{title} <{place_of(normpath(f'docs/{target}'))}>" for title, target in rows]
            parts.append(contents(section.partition("\n")[0], entries))
    return "\n".join([*parts, contents("API", [f"{page.title} <{page.place}>" for page in API_PAGES])])


def contents(caption: str, entries: list[str]) -> str:
    """One of them, in the words of MyST."""
    return "\n".join(
        [
            "\n```{toctree}",
            ":hidden:",
            ":titlesonly:",
            *([f":caption: {caption}"] if caption else []),
            *entries,
            "```\n",
        ]
    )
