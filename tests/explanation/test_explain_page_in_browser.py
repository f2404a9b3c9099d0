"""The page in a real browser: nothing is asked of a network, nothing is wider than a phone, nothing in a name runs."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from lightning_vision.explanation.gallery import Case, Panel, Section
from lightning_vision.explanation.page import Facts, write_page
from lightning_vision.explanation.scores import FIGURES, summarise

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

HOSTILE = ['"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "a bird of a kind with a long name " * 4]
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def refuse(dialog: Any, said: list[str]) -> None:
    """Close what a script in a name has opened."""
    said.append(f"dialog: {dialog.message}")
    dialog.dismiss()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "explain.html"
    panel = Panel("for a bird: 93.1 %", torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8))
    cases = tuple(
        Case(row, f"photos/{HOSTILE[row]}.jpg", HOSTILE[row], HOSTILE[(row + 1) % 3], 0.9, (panel,) * 4, HOSTILE[row])
        for row in range(3)
    )
    measured = pd.DataFrame(
        {"label": [0, 1, 2], "correct": [True, False, True], "empty": False, **dict.fromkeys(FIGURES, 0.5)}
    )
    facts = Facts(
        "runs/x/checkpoints/experience=0001.ckpt",
        "test set",
        3,
        2,
        1,
        "GradCAM",
        "layer4 (7 x 7 positions)",
        ["a note"],
    )
    sections = [
        Section("most-confident-errors", "Most confident errors", "About.", cases),
        Section("correct", "Correctly classified", "", cases[:1]),
    ]
    write_page(facts, sections, summarise(measured, HOSTILE), path)
    return path


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_and_asks_for_nothing(file: Path, width: int) -> None:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page: Any = browser.new_context(viewport={"width": width, "height": 844}, offline=True).new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("dialog", lambda dialog: refuse(dialog, said))
        page.on("request", lambda request: said.append(request.url) if not request.url.startswith("data:") else None)
        page.goto(file.as_uri())
        assert said == [file.as_uri()]
        assert page.evaluate(WIDER) == 0
        assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
        assert page.evaluate("[...document.images].every((image) => image.alt)")
        assert page.locator("main").count() == 1 and page.locator("article").count() == 4
        assert page.locator("h4 bdi").nth(0).inner_text() == HOSTILE[0]
        assert page.get_by_text("photos/{{ 7 * 7 }}.jpg").count() == 1
        assert page.locator("table").count() == 2 and "50.0 %" in page.locator("table").nth(0).inner_text()
        browser.close()
