"""The README's first command, from its start to its page: seconds, the figures of the caption, and the picture above it.

    python -m benchmarks.first_command
    python -m benchmarks.first_command --figure docs/images/comparison.png      # needs chromium

The installation is not part of the time. Each figure that the README gives of this comparison is in the tables.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks.measuring import machine, table
from lightning_vision.results.schema import read_results

ROOT = Path(__file__).parents[1]
AT_MOST = 150
WIDTH, HEIGHT, SCALE = 1280, 1600, 0.8
"""Of the picture, in pixels of the page, and what becomes of them."""


def readme_command() -> list[str]:
    """The words after ``lightning-vision`` in the line that installs and compares."""
    found = re.search(r"&& \.venv/bin/lightning-vision (compare .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit("README.md: expected a line that ends with `&& .venv/bin/lightning-vision compare ...`.")
    return found[1].split()


def photograph(page: Path, figure: Path) -> None:
    """The top of a page as a PNG."""
    from playwright.sync_api import sync_playwright  # belongs to the tests

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=SCALE)
        tab.goto(page.resolve().as_uri())
        tab.wait_for_load_state("networkidle")
        tab.screenshot(path=figure)
        browser.close()


def rows_of(comparison: Path) -> list[list[str]]:
    """The base, and a row a strategy: accuracy, forgetting, seconds and energy of learning, and the verdict."""
    bases = [read_results(path) for path in sorted(comparison.glob("bases/*/results.json"))]
    accuracy = pd.Series([base.test_accuracy[0] for base in bases], dtype=float).mean()
    trained = {base.experiences[0].train_samples for base in bases}
    rows = [["base", f"{100 * accuracy:.1f}", "", "", "", f"{' or '.join(map(str, sorted(trained)))} images"]]
    ranking = pd.read_csv(comparison / "report" / "ranking.csv")
    most = ranking["learning energy (kWh)"].max()
    for _, row in ranking.iterrows():
        energy = f"{row['learning energy (kWh)']:.2e} (1/{most / row['learning energy (kWh)']:.1f})"
        rows.append(
            [
                str(row["method"]),
                f"{row['test accuracy (%)']:.1f}",
                f"{row['forgetting (points)']:+.1f}",
                f"{row['learning time (s)']:.2f}",
                energy,
                str(row["verdict"]),
            ]
        )
    return rows


def main() -> None:
    """Run it and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, help="where the picture of the page is written")
    options = parser.parse_args()
    figure = options.figure.resolve() if options.figure else None
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        program = [sys.executable, "-m", "lightning_vision", *readme_command()]
        subprocess.run(program, check=True, stdout=sys.stderr, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})
        seconds = time.perf_counter() - begun
        page = next(Path(folder).rglob("report.html"))
        rows = rows_of(page.parents[1])
        if figure:
            photograph(page, figure)
    table(
        f"{seconds:.0f} s, at most {AT_MOST}; {machine()}",
        ["method", "test accuracy, %", "forgetting", "learning, s", "kWh", ""],
        rows,
    )


if __name__ == "__main__":
    main()
