"""Where a file of the repository stands on the site, and how links between such files are written there."""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ELSEWHERE = {
    "README.md": "index.md",
    "docs/index.md": "pages.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/reference/README.md": "literature.md",
}
"""By path in the repository, the pages that are not at the same place as in docs/."""
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"(^```.*?^```$)", flags=re.MULTILINE | re.DOTALL)


def pages() -> list[str]:
    """The paths of all Markdown pages in the repository."""
    found = [*DOCS.glob("*.md"), *DOCS.glob("examples/*/README.md")]
    return sorted({*ELSEWHERE, *(path.relative_to(ROOT).as_posix() for path in found)})


def place_of(path: str) -> str:
    """The place on the site of a file of the repository: Markdown and notebooks are pages, all else is copied."""
    if path in ELSEWHERE:
        return ELSEWHERE[path]
    if not path.startswith("docs/"):
        return f"files/{path}"
    return re.sub(r"\.ipynb$", ".md", path.removeprefix("docs/"))


def linked_files(path: str) -> set[str]:
    """The files of the repository to which a page links, in text and not in blocks of code."""
    text = FENCE.sub("", (ROOT / path).read_text(encoding="utf-8"))
    targets = {target.partition("#")[0] for target in LINK.findall(text) if "://" not in target}
    return {normpath(str(PurePosixPath(path).parent / target)) for target in targets if target}


def with_links_of_the_site(text: str, path: str) -> str:
    """A page's Markdown with links between files of the repository as links between places of the site.

    Args:
        text: Markdown.
        path: The page's path in the repository.
    """
    place = place_of(path)

    def moved(match: re.Match[str]) -> str:
        target, hash_mark, anchor = match[1].partition("#")
        if "://" in target or not target:
            return match[0]
        there = place_of(normpath(str(PurePosixPath(path).parent / target)))
        return f"]({relpath(there, str(PurePosixPath(place).parent))}{hash_mark}{anchor})"

    parts = FENCE.split(text)
    return "".join(part if number % 2 else LINK.sub(moved, part) for number, part in enumerate(parts))
