"""The page: it asks no network for anything, names from disk are only text, and it fits a phone."""

import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
from command_line import fit
from trusting import opened, write_ood_images

from lightning_vision.trust.command import assess
from lightning_vision.trust.options import TrustOptions

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
HOSTILE = "<img src=x onerror=alert(1)> {{ 7 * 7 }}"
OPTIONS = ("--data.per_class=120", "--data.noise=150", "--data.stream.experiences=2", "--data.batch_size=32")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All sections, and a folder whose name would like to be a page of its own."""
    folder = tmp_path_factory.mktemp("page")
    run = fit(folder, "run", *OPTIONS)
    ood_images = write_ood_images(folder / "odd", ("yellow", "purple"), count=12)
    (ood_images / "purple").rename(ood_images / HOSTILE.replace("/", ""))
    new = write_ood_images(folder / "new", ("yellow",), count=12)
    (new / "yellow").rename(new / "red")
    options = TrustOptions(str(ood_images), str(new), calibrate=True, coverage=0.9, output=str(folder / "elsewhere"))
    assess(opened(run, *OPTIONS), options)
    return folder / "elsewhere" / "trust.html"


def test_it_is_one_file_that_runs_nothing(page: Path) -> None:
    source = page.read_text(encoding="utf-8")
    assert "<script" not in source and "{{" not in source.replace("{{ 7 * 7 }}", "") and "{%" not in source
    assert "<img src=x" not in source and "&lt;img src=x onerror=alert(1)&gt; {{ 7 * 7 }}" in source
    assert not re.search(r"(?:src|href)=\"(?!data:image/|#)", source)
    assert "default-src 'none'; img-src data:" in source
    for section in ("ood", "calibration", "rejection", "shift", "notes"):
        assert f'id="{section}"' in source
    headings = [int(level) for level in re.findall(r"<h(\d)", source)]
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))
    assert all(alt.strip() for alt in re.findall(r"<img[^>]* alt=\"([^\"]*)\"", source))
    assert len(re.findall("<img", source)) == len(re.findall(r"<img[^>]* alt=", source)) >= 7 + 8


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.mark.parametrize(("width", "look"), [(1280, "light"), (390, "dark")])
def test_it_fits_and_asks_for_nothing(width: int, look: Literal["light", "dark"], browser: Any, page: Path) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=look, offline=True)
    opened_page, errors, requests = context.new_page(), [], []
    opened_page.on("console", lambda message: errors.append(message.text))
    opened_page.on("request", lambda request: requests.append(request.url))
    opened_page.goto(page.as_uri())
    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert opened_page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    broken = "[...document.images].filter((image) => image.complete && image.naturalWidth === 0).length"
    assert opened_page.evaluate(broken) == 0
    light = opened_page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert light == (look == "light")
    context.close()
