"""Build the site, with warnings as errors and without the network.

    python docs/site/build_site.py build/site      # then open build/site/index.html

Nothing is loaded from other hosts when it is viewed: no fonts, no scripts, no images.
"""

import argparse
import re
import sys
import tempfile
from io import StringIO
from pathlib import Path

from repository_pages import ROOT
from site_sources import write_sources
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

HERE = Path(__file__).parent


def build_site(output: Path) -> None:
    """Gather the sources and write the site.

    Args:
        output: A folder for it.

    Raises:
        ValueError: Pages, docstrings or links are wrong; the message has all of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_sources(Path(folder))
        write_pages(Path(folder), output)


def write_pages(sources: Path, output: Path) -> None:
    """Write HTML of a folder of sources.

    Args:
        sources: Markdown and reStructuredText, with index.md.
        output: A folder for the pages.

    Raises:
        ValueError: There are warnings; the message has all of them.
    """
    warnings = StringIO()
    with tempfile.TemporaryDirectory() as read, patch_docutils(), docutils_namespace():
        Sphinx(sources, HERE, output, read, "html", status=None, warning=warnings).build()
    if found := re.sub(r"\x1b\[[0-9;]*m", "", warnings.getvalue()).replace(f"{sources}/", ""):
        raise ValueError(f"Expected a site without warnings, found:\n{found}")


def main() -> None:
    """Read the arguments and build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="a folder for the site")
    sys.path.insert(0, str(ROOT))  # the docstrings of this checkout, whatever is installed
    try:
        build_site(parser.parse_args().output.resolve())
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
