"""The site of docs/ builds without a warning, its links lead somewhere, and it needs no other host."""

import inspect
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

pytest.importorskip("furo", reason="the extra docs is not installed")

from api_pages import API_PAGES
from build_site import build_site, write_pages
from repository_pages import pages, place_of

from lightning_vision.recipes import WarmupCosine

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of Sphinx, for its extensions
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NARROW, WIDE = 390, 1280
"""Widths of a telephone and of a notebook, in pixels."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site; that there is no warning is part of building it."""
    folder = tmp_path_factory.mktemp("site")
    build_site(folder)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser, or a reason why there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


def html_pages(site: Path) -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}


def dead_links(site: Path) -> list[str]:
    """Links to files that are not there, or to places that a page does not have."""
    texts = html_pages(site)
    places = {path: set(re.findall(r'\sid="([^"]+)"', text)) for path, text in texts.items()}
    found = []
    for path, text in texts.items():
        for link in sorted(set(re.findall(r'\s(?:href|src)="([^"]+)"', text))):
            target, _, place = unquote(link).partition("#")
            if re.match(r"\w+:", target):
                continue
            there = (path.parent / target.partition("?")[0]).resolve() if target else path
            if not there.is_file() or (place and there in places and place not in places[there]):
                found.append(f"{path.relative_to(site)}: {link}")
    return found


def test_building_it_leaves_the_classes_as_they_are(site: Path) -> None:
    assert inspect.signature(WarmupCosine).parameters["floor"].default == 0.0


def test_every_page_is_on_the_site(site: Path) -> None:
    for path in pages():
        assert (site / place_of(path)).with_suffix(".html").is_file(), path
    for notebook in (ROOT / "docs" / "notebooks").glob("*.ipynb"):
        assert (site / "notebooks" / f"{notebook.stem}.html").is_file()


def test_links_lead_somewhere(site: Path) -> None:
    assert dead_links(site) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    """On built pages, where menus and images count too, and by Sphinx in text."""
    (tmp_path / "page.html").write_text('<a href="page.html#here">1</a><i id="here"></i><a href="#there">2</a>')
    (tmp_path / "other.html").write_text('<img src="none.png"><a href="https://example.org/none">3</a>')
    assert dead_links(tmp_path) == ["other.html: none.png", "page.html: #there"]
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "index.md").write_text("# Title\n\n[page](none.md), [heading](#title), [place](#none)\n")
    with pytest.raises(ValueError, match=r"without warnings, found:\nindex\.md:3: .*'none\.md'.*\n.*'none'.*\n$"):
        write_pages(sources, tmp_path / "built")


def test_nothing_comes_from_another_host(site: Path) -> None:
    """Neither fonts nor scripts nor images; readers of a page are nobody's business."""
    for path, text in html_pages(site).items():
        for tag in re.findall(r"<(?:script|img|link|iframe|source)\b[^>]*>", text):
            assert not re.search(r'(?:href|src)="(?:\w+:)?//', tag), f"{path.name}: {tag}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:\w+:)?//|@import", sheet.read_text(encoding="utf-8")), sheet


@pytest.mark.parametrize("page", API_PAGES, ids=lambda page: page.package)
def test_every_public_name_has_an_entry_with_its_docstring(site: Path, page: Any) -> None:
    text = (site / page.place).with_suffix(".html").read_text(encoding="utf-8")
    for name in page.names:
        _, found, entry = text.partition(f'id="{page.package}.{name}"')
        assert found, name
        assert re.search(r"<dd>\s*<p>\w", entry.partition("</dl>")[0]), f"{name} has no text"
    assert ":math:" not in text
    assert ".. math" not in text


def test_equations_are_shown_without_a_script(site: Path) -> None:
    text = (site / "api" / "strategies.html").read_text(encoding="utf-8")
    (equation,) = re.findall(r'id="strategies\.DER".*?(<div class="equation">.*?</div>)', text, flags=re.DOTALL)
    assert equation.count("<mfrac>") == 3
    assert "<mi>&#x003B1;</mi>" in equation
    assert "mathjax" not in text.lower()


def test_notebooks_are_pages_with_their_outputs_and_files(site: Path) -> None:
    page = site / "notebooks" / "ten_minutes.html"
    text = page.read_text(encoding="utf-8")
    (link,) = re.findall(r'href="([^"]+\.ipynb)"', text)
    there = (page.parent / link).resolve()
    assert there.read_bytes() == (ROOT / "docs" / "notebooks" / "ten_minutes.ipynb").read_bytes()
    outputs = [part.partition("</div>")[0] for part in text.split('<div class="output">')[1:]]
    assert len(outputs) == 6
    assert any("<td>" in output and "recall" in output for output in outputs)
    (image,) = re.findall(r'<img alt="Output[^"]*" src="([^"]+)"', text)
    assert (page.parent / image).resolve().stat().st_size > 1000


def test_it_works_in_a_browser_from_the_disk(site: Path, browser: Any) -> None:
    """Search, copying, light and dark, no sideways scrolling on a telephone, and no request."""
    context = browser.new_context(viewport={"width": NARROW, "height": 844}, color_scheme="dark")
    page = context.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto((site / "index.html").as_uri())
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    buttons = page.locator("button.copybtn")
    assert buttons.count() == page.locator("div.highlight").count() >= 10
    buttons.first.click()
    assert "success" in str(buttons.first.get_attribute("class"))
    for width in (NARROW, WIDE):
        page.set_viewport_size({"width": width, "height": 844})
        for name in ("index", "strategies", "data", "benchmarks", "gallery", "api/strategies", "notebooks/ten_minutes"):
            page.goto((site / f"{name}.html").as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    page.emulate_media(color_scheme="light")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    assert problems == []
    page.goto((site / "search.html").as_uri() + "?q=RanPAC")
    page.locator("ul.search li").first.wait_for(timeout=20_000)
    assert page.locator("ul.search li a", has_text="RanPAC").count() >= 1
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    context.close()
