"""The page of predictions in a real browser: nothing is asked of a network, nothing is wider than a phone, readable in both looks."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from deployed.onnx_maker import write_model
from photo_folder import write_photos

from lightning_vision.deployed.predict_folder import predict

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

LONG = "a bird with a long name, and another_that_has_no_space_in_it_at_all"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    names = ["cats", "dogs", LONG]
    model = write_model(folder / "m.onnx", class_names=names, temperature=2.0, threshold=0.5)
    write_photos(folder / "photos", per_class=3)
    (folder / "photos" / "birds").rename(folder / "photos" / LONG)
    (folder / "photos" / "broken.jpg").write_text("no image")
    assert predict(["--model", str(model), str(folder / "photos"), "--output", str(folder / "out.csv")]) == 0
    return folder / "out.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.mark.parametrize(("look", "width"), [("light", 1280), ("dark", 390)])
def test_it_is_whole_and_can_be_read(browser: Any, page: Path, look: Literal["light", "dark"], width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=look, offline=True)
    opened, said, asked = context.new_page(), list[str](), list[str]()
    opened.on("console", lambda message: said.append(message.text))
    opened.on("request", lambda request: asked.append(request.url))
    opened.route(re.compile("^(?!file:|data:)"), lambda route: route.abort())
    opened.goto(page.as_uri())
    assert opened.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert opened.evaluate(
        "document.querySelector('table').scrollWidth <= document.querySelector('.scroll').clientWidth"
    )
    for image in opened.locator("img").all():
        image.scroll_into_view_if_needed()
    assert opened.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth === 40)")
    assert said == [] and [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    serious = [
        (one["id"], [node["html"][:200] for node in one["nodes"][:3]])
        for one in axe.Axe().run(opened).response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    context.close()
