"""The page of the data: complete, self-contained, harmless for any names on the disk, and machine-readable."""

import base64
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from coloured_squares import ColouredSquares
from photo_folder import write_photos
from PIL import Image

from datamodules import ImageFolder
from lightning_vision.data.sample_table import SPLITS
from lightning_vision.data.scenarios import ClassIncremental, InstanceIncremental
from lightning_vision.data_report import page as data_page
from lightning_vision.data_report.page import write_page
from lightning_vision.data_report.report import describe

VOID = {"meta", "img", "br"}
"""Elements of the page that have no end."""
HOSTILE = (
    "<script>alert(1)<",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "a'&amp;b",
    "d\udcf6g\n\u202e",
)


@dataclass
class Element:
    """One element of the page."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    inside: list["Element"] = field(default_factory=list)

    def all(self, *tags: str) -> Iterator["Element"]:
        """Every element below of these tags, in order."""
        for element in self.inside:
            if element.tag in tags or not tags:
                yield element
            yield from element.all(*tags)

    def words(self) -> str:
        """The text with that of all below."""
        return self.text + "".join(element.words() for element in self.inside)


class Page(HTMLParser):
    """Reads the page into a tree; what is not closed is refused."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.root = Element("document", {})
        self.open = [self.root]
        self.feed(self.source)
        self.close()
        assert self.open == [self.root], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        assert len(element.attributes) == len(attrs), "no attribute twice"
        self.open[-1].inside.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].inside.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        text = Element("text", {}, data)
        self.open[-1].inside.append(text)

    def rows(self, number: int, part: str = "tbody") -> list[list[str]]:
        """The cells of a table, as text."""
        table = list(self.root.all("table"))[number]
        (body,) = table.all(part)
        return [[cell.words() for cell in row.all("th", "td")] for row in body.all("tr")]

    def images(self) -> list[Image.Image]:
        """All images, decoded."""
        sources = [element.attributes["src"] for element in self.root.all("img")]
        assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
        opened: list[Image.Image] = [
            Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in sources
        ]
        for image in opened:
            image.load()
        return opened


def check(page: Page) -> None:
    """What holds for every page."""
    elements = list(page.root.all())
    tags = {element.tag for element in elements}
    assert not tags & {"script", "iframe", "object", "embed", "link", "base", "form", "audio", "video"}
    for element in elements:
        for name, value in element.attributes.items():
            assert not name.startswith("on"), "nothing runs"
            assert name not in ("srcset", "action", "data", "poster", "background")
            if name in ("src", "href", "xlink:href"):
                assert value.startswith(("data:image/jpeg;base64,", "#"))
            assert name != "style" or re.fullmatch(r"(width:[\d.]+%|--s:[\d.]+)", value)
    (style,) = page.root.all("style")
    assert "url(" not in style.words() and "@import" not in style.words()
    assert "prefers-color-scheme: dark" in style.words() and "@media print" in style.words()
    policy = next(e for e in elements if e.attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy.attributes["content"].startswith("default-src 'none'; img-src data:;")
    assert "width=device-width" in page.source
    (html,) = page.root.all("html")
    assert html.attributes["lang"] == "en"
    ids = [element.attributes["id"] for element in elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for element in elements:
        if element.attributes.get("href", "").startswith("#"):
            assert element.attributes["href"][1:] in ids
        if "aria-labelledby" in element.attributes:
            assert element.attributes["aria-labelledby"] in ids
    assert all(element.attributes.get("scope") in ("row", "col") for element in page.root.all("th"))
    assert all(element.attributes.get("alt", "").strip() for element in page.root.all("img"))
    assert all(svg.attributes["role"] == "img" and svg.attributes["aria-label"] for svg in page.root.all("svg"))
    scrolled = [element for element in elements if element.attributes.get("class") == "scroll"]
    assert scrolled and all(e.attributes["tabindex"] == "0" and e.attributes["aria-label"] for e in scrolled)
    headings = [int(element.tag[1]) for element in page.root.all("h1", "h2", "h3", "h4")]
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))
    assert not re.search(r"\{\{|\{%", page.source.replace("{{ 7 * 7 }}{% raw %}", "")), "no piece of the template"


def written(data: ImageFolder | ColouredSquares, folder: Path) -> Page:
    path = folder / "new" / "page.html"
    write_page(describe(data), data, path)
    page = Page(path)
    check(page)
    return page


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    """Train and test folders with all that is odd: hostile names, copies, near copies, two labels, broken files."""
    root = tmp_path_factory.mktemp("data_page") / "photos <b>"
    write_photos(root / "train", per_class=6)
    write_photos(root / "test", per_class=2, seed=1)
    generator = np.random.default_rng(0)
    for number, name in enumerate(HOSTILE):
        folder = root / "train" / name
        os.mkdir(os.fsencode(folder))  # noqa: PTH102 - a Path may hold no bytes that are no UTF-8
        for row in range(4):
            pixels = generator.integers(0, 256, (9, 7, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((70 + 30 * row, 40 + 20 * number)).save(os.fsencode(folder / f"{row}.png"))
    original = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    smooth = Image.fromarray(original).resize((240, 200), Image.Resampling.BICUBIC)
    smooth.save(root / "train" / "cats" / "seen.jpg")
    smooth.resize((180, 150)).save(root / "test" / "cats" / "smaller.jpg")
    smooth.save(root / "train" / "dogs" / "<i>same.png")
    smooth.save(root / "test" / "dogs" / "same.png")
    smooth.save(root / "train" / "birds" / "other label.png")
    (root / "train" / "dogs" / "empty.jpg").touch()
    (root / "train" / "dogs" / "bad <u>\udc80.jpg").write_text("x")
    stream = InstanceIncremental(3)
    return ImageFolder(root, image_size=48, stream=stream, on_bad_image="skip", class_weights="balanced")


@pytest.fixture(scope="module")
def page(data: ImageFolder, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return written(data, tmp_path_factory.mktemp("page"))


def test_counts_are_those_of_the_table(data: ImageFolder, page: Page) -> None:
    split, labels = data.samples["split"], data.samples["label"]
    rows = page.rows(0)
    assert len(rows) == data.num_classes == 8
    weights = data.class_weight_values()
    assert weights is not None
    for label, row in enumerate(rows):
        assert row[1:4] == [str(int(((labels == label) & (split == part)).sum())) for part in SPLITS]
        assert row[4] == f"{weights[label]:.3f}"
    assert page.rows(0, "tfoot")[0][1:4] == [str(int((split == part).sum())) for part in SPLITS]
    assert [row[2:] for row in page.rows(1)] == [
        [str(len(item.indices)), str(len(item.val_indices)), str(len(item.test_indices)), str(len(item.new_classes))]
        for item in data.stream
    ]


def test_the_stream_by_class(data: ImageFolder, page: Page) -> None:
    rows = {row[0]: [int(cell or 0) for cell in row[1:]] for row in page.rows(2)}
    for name in ("birds", "cats", "dogs"):
        label = data.class_names.index(name)
        counts = [int((data.samples["label"].iloc[item.indices] == label).sum()) for item in data.stream]
        assert rows[name] == [*counts, sum(counts)]


def test_names_are_text(data: ImageFolder, page: Page) -> None:
    assert [row[0] for row in page.rows(0)] == [name.replace("\udcf6", r"\udcf6").replace("\n", r"\n").replace("\u202e", r"\u202e") for name in data.class_names]  # fmt: skip
    for name in HOSTILE[:4]:
        assert name in [row[0] for row in page.rows(0)]
    assert "49" not in [row[0] for row in page.rows(0)]
    assert "<script" not in page.source and "<img src=x" not in page.source and "<b>" not in page.source
    assert next(page.root.all("title")).words().endswith("photos <b>")


def test_images_are_shown_plain_and_augmented(data: ImageFolder, page: Page) -> None:
    opened = page.images()
    pairs = data.leaks.pairs
    samples = opened[: len(opened) - 2 * len(pairs)]
    assert len(samples) == 8 * 3 * 2
    assert all(image.size == (48, 48) for image in samples)
    alts = [element.attributes["alt"] for element in page.root.all("img")][: len(samples)]
    assert all("evaluation transform" in alt for alt in alts[::2])
    assert all("training transform" in alt for alt in alts[1::2])
    differ = [
        np.abs(np.asarray(a, float) - np.asarray(b, float)).mean()
        for a, b in zip(samples[::2], samples[1::2], strict=True)
    ]
    assert np.median(differ) > 3
    plain = data.preview(describe(data).examples[0][0]).permute(1, 2, 0).numpy()
    assert np.abs(np.asarray(samples[0], float) - plain).mean() < 12, "JPEG loses little"


def test_leaks_are_shown_side_by_side(data: ImageFolder, page: Page) -> None:
    kinds = {pair.kind for pair in data.leaks.pairs}
    assert kinds == {"exact", "near", "label"}
    cards = [card for card in page.root.all("article") if "data, class" in card.words()]
    assert len(cards) == len(data.leaks.pairs)
    headings = " ".join(next(card.all("h3")).words() for card in cards)
    for words in (
        "The left image is a copy of the right image",
        "The left image is a near copy of the right image (",
        "Copies with different labels",
    ):
        assert words in headings
    whole = page.images()[-2 * len(cards) :]
    assert max(max(image.size) for image in whole) == data_page.LARGE
    assert any(image.width > image.height for image in whole), "whole, not cut by the transforms"
    assert data.leaks.sentence() in page.root.words()


def test_odd_files_are_listed_with_their_reason(page: Page) -> None:
    listed = [details.words() for details in page.root.all("details")]
    assert any("1 skipped: empty" in text and "dogs/empty.jpg" in text for text in listed)
    assert any("cannot be decoded" in text and r"bad <u>\udc80.jpg" in text for text in listed)


def test_histograms_say_what_they_show(page: Page) -> None:
    labels = [svg.attributes["aria-label"] for svg in page.root.all("svg")]
    assert [label.split(":")[0].removeprefix("Histogram of ") for label in labels] == [
        "width",
        "height",
        "aspect",
        "file size",
    ]
    assert "lowest 40" in labels[0] and "highest 240 pixels" in labels[0]
    for svg in page.root.all("svg"):
        bars = list(svg.all("rect"))
        assert bars and all(float(bar.attributes["height"]) <= data_page.PLOT_HEIGHT for bar in bars)


def test_options_and_hashes(data: ImageFolder, page: Page) -> None:
    options = {row[0]: row[1] for row in page.rows(-1)}
    assert options["image_size"] == "48" and options["on_bad_image"] == "skip"
    assert "InstanceIncremental" in options["stream"]
    assert options["split hash"] == data.split_hash and options["stream hash"] == data.stream.hash


def test_the_same_data_gives_the_same_page(data: ImageFolder, page: Page, tmp_path: Path) -> None:
    assert written(data, tmp_path).source == page.source


def test_many_classes_stay_readable(tmp_path: Path) -> None:
    colours = {
        f"a rather long name of a class, number {number}": (40 + 5 * number, 90, 200 - 4 * number)
        for number in range(44)
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_vision.testing.squares.COLOURS", colours)
        patch.setattr(data_page, "MOST_CELLS", 44 * 6)
        page = written(ColouredSquares(list(colours), per_class=6, stream=ClassIncremental(11)), tmp_path)
    assert [row[0] for row in page.rows(0)] == list(colours)
    assert len(page.images()) == 40 * 3 * 2
    assert "40 of 44 classes are shown" in page.root.words()
    assert "The first 6 of 11 experiences are shown" in page.root.words()
    assert [row[0] for row in page.rows(2)][:4] == list(colours)[:4], "in the order in which they come"
    assert {len(row) for row in page.rows(2)} == {1 + 6 + 1}
    assert all(element.attributes["class"] == "pixelated" for element in page.root.all("img"))
    assert "None were found." in page.root.words() and "None. Every file was read." in page.root.words()


def test_many_thumbnails_are_small(data: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_page, "MANY", 10)
    page = written(data, tmp_path)
    assert max(max(image.size) for image in page.images()) == data_page.SMALL
