"""The report's page in a real browser: it draws, it asks no network for anything, and keys, search and small screens work."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from run_maker import make_comparison, make_run

from lightning_vision.report.chart import Chart
from lightning_vision.report.gather import gather
from lightning_vision.report.page import write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip
HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "datum['c1'] + alert(1)",
    "{{ 7 * 7 }}",
)
NAMES = [*HOSTILE, *(f"a bird of the {number}th kind, with a long name" for number in range(4, 40))]
DRAWN = "[...document.querySelectorAll('.plot')].every((plot) => plot.dataset.drawn === '{}')"
EMPTY = """[...document.querySelectorAll('.plot')].filter((plot) => {
  const marks = plot.querySelectorAll('svg :is(.mark-symbol, .mark-line, .mark-rect, .mark-area, .mark-rule) :is(path, line)');
  return marks.length < 3 || plot.querySelector('svg').getBoundingClientRect().height < 100;
}).map((plot) => plot.dataset.spec)"""
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class Opened:
    """A page that is open, and what went wrong in it."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def wait_for(self, condition: str) -> None:
        """Wait until an expression is true; playwright's own wait makes code from text, which the page's policy forbids."""
        for _ in range(600):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(50)
        pytest.fail(f"in 30 s it did not become true: {condition}")

    def wait_for_charts(self, look: str = "light") -> None:
        self.wait_for(DRAWN.format(look))

    def refuse(self, dialog: Any) -> None:
        """Close what a script in a name has opened."""
        self.errors.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    @property
    def said(self) -> str:
        """What the confusion viewer announces."""
        return str(self.page.locator(".confusion output").inner_text())


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a comparison with shared bases, a sweep and 40 classes, some of which try to run scripts."""
    folder = tmp_path_factory.mktemp("browser") / "birds"
    accuracies = {"HeadOnly": {0: 0.6, 1: 0.65, 2: 0.7}, "Retrain": {0: 0.9, 1: 0.8, 2: 0.85}}
    make_comparison(folder, accuracies, classes=NAMES, images=40 * 12, scenario="InstanceIncremental")
    for seed in (0, 1, 2):
        make_run(folder / "runs" / f"sweep-{seed}", strategy="strategies.MoveToData", seed=seed, classes=NAMES, images=40 * 12, epsilons=(0.0, 0.01, 0.1))  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Chart, "png", lambda self: b"")
        return write_report(gather([folder]), folder / "report").page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


def show(browser: Any, file: Path, width: int = 1280, look: Literal["light", "dark"] = "light") -> Opened:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=look, offline=True)
    opened = Opened(context.new_page())
    page = opened.page
    page.on(
        "console", lambda message: opened.errors.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: opened.errors.append(str(error)))
    page.on("dialog", lambda dialog: opened.refuse(dialog))
    page.on("request", lambda request: opened.requests.append(request.url))
    page.route(re.compile("^(?!file:|data:)"), lambda route: route.abort())
    page.goto(file.as_uri())
    opened.wait_for_charts(look)
    return opened


@pytest.fixture(scope="module")
def desktop(browser: Any, file: Path) -> Opened:
    return show(browser, file)


def test_every_chart_is_drawn_without_errors_or_requests(desktop: Opened, file: Path) -> None:
    assert desktop.page.evaluate("document.querySelectorAll('.plot').length") == 11
    assert desktop.page.evaluate(EMPTY) == []
    assert desktop.page.evaluate(WIDER) == 0
    assert desktop.errors == []
    assert desktop.requests == [file.as_uri()]


def test_the_matrix_is_read_with_keys(desktop: Opened, file: Path) -> None:
    data = json.loads(desktop.page.locator("#group-1-confusion-data").text_content())
    desktop.page.locator(".confusion canvas").focus()
    for key in ("Home", "PageUp", "PageUp", "PageUp", "PageUp", "ArrowDown", "ArrowRight"):
        desktop.page.keyboard.press(key)
    counts = [0] * 40 * 40
    for run in data["options"][0]["runs"]:
        place = 0
        for number in data["runs"][run]:
            if number < 0:
                place -= number
            else:
                counts[place] += number
                place += 1
    assert desktop.said.startswith(f"True {NAMES[1]}, predicted {NAMES[1]}: {counts[41]} of {sum(counts[40:80])} (")
    desktop.page.keyboard.press("ArrowLeft")
    assert desktop.said.startswith(f"True {NAMES[1]}, predicted {NAMES[0]}: {counts[40]} of ")
    desktop.page.keyboard.press("End")
    assert f"predicted {NAMES[39]}: {counts[79]} of " in desktop.said
    assert desktop.page.locator(".confusion output").get_attribute("aria-live") == "polite"


def test_a_class_is_found_and_marked(desktop: Opened) -> None:
    canvas, find = desktop.page.locator(".confusion canvas"), desktop.page.get_by_label("Find a class")
    find.focus()
    before = canvas.evaluate("(canvas) => canvas.toDataURL()")
    find.fill("OF THE 17TH")
    assert re.match(r"a bird of the 17th kind, with a long name: \d+ of \d+ correct \(\d+ %\)\.$", desktop.said)
    assert canvas.evaluate("(canvas) => canvas.toDataURL()") != before
    assert desktop.page.locator(".confusion caption").inner_text() == f"Most frequent errors with {NAMES[17]}"
    rows = desktop.page.locator(".confusion tbody tr")
    assert rows.count() and all(NAMES[17] in rows.nth(row).inner_text() for row in range(rows.count()))
    find.fill("kind")
    assert desktop.said.startswith(f"{NAMES[4]}:") and "Match 1 of 36" in desktop.said
    find.press("Enter")
    assert desktop.said.startswith(f"{NAMES[5]}:") and "Match 2 of 36" in desktop.said
    find.fill("fish")
    assert desktop.said == "No class is called “fish”."
    find.fill("")
    assert desktop.page.locator(".confusion caption").inner_text() == "Most frequent errors"
    assert canvas.evaluate("(canvas) => canvas.toDataURL()") == before


def test_pointer_zoom_and_choice_of_run(desktop: Opened) -> None:
    page = desktop.page
    canvas = page.locator(".confusion canvas")
    page.get_by_role("button", name="Whole").click()
    whole = canvas.evaluate("(canvas) => canvas.toDataURL()")
    canvas.click(position={"x": 600, "y": 500})
    assert desktop.said.startswith("True ")
    page.mouse.wheel(0, -600)
    desktop.wait_for(f"document.querySelector('.confusion canvas').toDataURL() !== '{whole}'")
    zoomed = canvas.evaluate("(canvas) => canvas.toDataURL()")
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 500, box["y"] + 400)
    page.mouse.down()
    page.mouse.move(box["x"] + 420, box["y"] + 350, steps=4)
    page.mouse.up()
    assert canvas.evaluate("(canvas) => canvas.toDataURL()") != zoomed, "dragged"
    page.get_by_role("button", name="Whole").click()
    page.get_by_label("Run").select_option(label="HeadOnly, seed 1")
    assert canvas.evaluate("(canvas) => canvas.toDataURL()") != whole
    first = page.locator(".confusion tbody button").first
    first.click()
    assert desktop.said.startswith(f"True {first.inner_text()}, predicted ")
    page.get_by_label("Run").select_option(index=0)


def test_rows_of_a_long_table_are_found(desktop: Opened) -> None:
    figure = desktop.page.locator("#group-1-forgetting")
    figure.locator("summary").click()
    figure.get_by_label("Find a row").fill("17th")
    assert figure.locator("tbody tr:visible").count() == 1
    assert figure.locator("output").inner_text() == "1 of 40 rows"
    figure.get_by_label("Find a row").fill("")
    assert figure.locator("tbody tr:visible").count() == 40


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Any, file: Path) -> None:
    phone = show(browser, file, width=390)
    assert phone.page.evaluate(WIDER) == 0
    assert phone.page.evaluate(EMPTY) == [] and phone.errors == []
    for summary in phone.page.locator("summary").all():
        summary.click()
    assert phone.page.evaluate(WIDER) == 0
    cut = "[...document.querySelectorAll('.plot')].filter((plot) => plot.scrollWidth > plot.clientWidth + 1).map((plot) => plot.dataset.spec)"
    assert phone.page.evaluate(cut) == []
    phone.page.set_viewport_size({"width": 844, "height": 390})
    wide = "[...document.querySelectorAll('.plot svg')].every((svg) => svg.getBoundingClientRect().width > 0.5 * svg.parentElement.clientWidth)"
    phone.wait_for(wide)
    phone.page.context.close()


@pytest.mark.parametrize("look", ["light", "dark"])
def test_no_serious_fault_of_accessibility(browser: Any, file: Path, look: Literal["light", "dark"]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    opened = show(browser, file, look=look)
    for summary in opened.page.locator("summary").all():
        summary.click()
    found = axe.Axe().run(opened.page).response["violations"]
    serious = [
        (one["id"], [node["html"][:200] for node in one["nodes"][:3]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    opened.page.context.close()


def test_charts_follow_the_look_of_the_system(browser: Any, file: Path) -> None:
    opened = show(browser, file)
    ink = "getComputedStyle(document.querySelector('.plot svg .role-axis-title text')).fill"
    light = opened.page.evaluate(ink)
    opened.page.emulate_media(color_scheme="dark")
    opened.wait_for_charts("dark")
    assert opened.page.evaluate(ink) != light and opened.errors == []
    opened.page.emulate_media(media="print", color_scheme="dark")
    assert opened.page.evaluate(ink) == "rgb(0, 0, 0)"
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    opened.page.context.close()


def test_it_prints(browser: Any, file: Path) -> None:
    opened = show(browser, file, look="dark")
    pdf = opened.page.pdf(format="A4")
    assert (
        pdf.startswith(b"%PDF")
        and pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") + pdf.count(b"/Type /Page/") >= 3
    )
    opened.page.context.close()
