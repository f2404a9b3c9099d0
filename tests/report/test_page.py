"""The report's page: complete, in order, self-contained, and harmless for any contents of the run directories."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_maker import make_comparison, make_run

from lightning_vision.report import page as page_module
from lightning_vision.report.chart import Chart
from lightning_vision.report.gather import gather
from lightning_vision.report.page import Images, ReportFiles, json_block, script, write_report
from lightning_vision.report.runs import ReportRun

HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 77 * 77 }}{% raw %}",
    "a'&amp;<b>b</b>",
    "line\u2028end \u202ereversed",
    "<!-- --> datum['c1']",
)
VOID = {"meta", "img", "br", "input"}
PARTS = ("ranking", "cost", "learning", "sweep", "confusion", "card")


class Page(HTMLParser):
    """Reads a page: its elements with their attributes, its texts, its scripts and its data; what is not closed is refused."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self.data: dict[str, object] = {}
        self.words = ""
        self._open: list[tuple[str, dict[str, str]]] = []
        self.feed(self.source)
        self.close()
        assert not self._open, "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = (tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tag, attributes = self._open[-1] if self._open else ("", {})
        if tag == "script" and attributes.get("type") == "application/json":
            self.data[attributes["id"]] = json.loads(data)
        elif tag == "script":
            self.scripts.append(data)
        elif tag != "style":
            self.words += data

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(autouse=True, scope="module")
def quick_images() -> object:
    """PNGs are drawn in test_charts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Chart, "png", lambda self: b"png of " + self.name.encode())
        yield


def report(folders: list[Path], output: Path, images: Images | None = None) -> tuple[Page, ReportFiles]:
    files = write_report(gather(folders), output, images)
    return Page(files.page), files


def jpeg(run: ReportRun, row: int) -> bytes | None:
    """An image for every row but one."""
    if row == 1000:
        return None
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (row % 256, 0, 0)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hostile classes and settings, a sweep, an unfinished run, one that is truncated and one of a newer version."""
    root = tmp_path_factory.mktemp("report") / "all runs"
    for seed in (0, 1, 2):
        for number, strategy in enumerate(("HeadOnly", "Retrain")):
            make_run(root / f"{strategy}-{seed}", [0.4, 0.5, 0.6 + 3 * number / 10 + seed / 50], strategy=f"strategies.{strategy}", seed=seed, classes=HOSTILE)  # fmt: skip
        make_run(root / f"sweep-{seed}", [0.4, 0.5, 0.6], strategy="strategies.MoveToData", seed=seed, classes=HOSTILE, epsilons=(0.01, 0.1), changes={"notes": [f"note {HOSTILE[0]}"]})  # fmt: skip
    make_run(
        root / "EWC",
        [0.4, 0.5],
        strategy="strategies.EWC",
        init_args={"name": HOSTILE[1]},
        experiences=3,
        classes=HOSTILE,
    )
    truncated = make_run(root / "truncated", classes=HOSTILE) / "results.json"
    truncated.write_text(truncated.read_text()[:500])
    newer = make_run(root / "newer", classes=HOSTILE) / "results.json"
    newer.write_text(newer.read_text().replace('"schema": 2', '"schema": 3'))
    return root


@pytest.fixture(scope="module")
def page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return report([folder], tmp_path_factory.mktemp("out"), jpeg)[0]


def test_the_sections_come_in_order(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    places = [ids.index(f"group-1-{part}") for part in PARTS]
    assert places == sorted(places) and ids.index("totals") > places[-1]
    targets = [attributes["href"].removeprefix("#") for attributes in page.all("a")]
    assert set(targets) <= set(ids) and {f"group-1-{part}" for part in PARTS} <= set(targets)
    assert page.words.index("Retrain is best") < page.words.index("Ranking"), "the answer first"


def test_the_ranking_in_figures_and_words(page: Page) -> None:
    for words in (
        "91.7 %",
        "significant?",
        "highest mean",
        "374 k",
        "4.1 M",
        "All differences are significant",
        "p = ",
    ):
        assert words in page.words
    assert "a two-way analysis of variance of correct and wrong by seed and test image" in page.words
    assert "Two trained models" not in page.words, "three seeds say more"


def test_what_is_left_out_or_unfinished_is_at_the_top(page: Page) -> None:
    top = page.words[: page.words.index("Accuracy and cost")]
    assert (
        "2 directories could not be used" in top and "truncated or damaged" in top and "newer lightning_vision" in top
    )
    assert "EWC with seed 0 is not finished (2 of 3 experiences)" in top


def test_the_charts_and_their_tables(page: Page) -> None:
    plots = [attributes for attributes in page.all("div") if attributes.get("class") == "plot"]
    names = [plot["data-spec"].removeprefix("group-1-").removesuffix("-spec") for plot in plots]
    assert names == [
        "accuracy-energy", "accuracy-time", "curves-val-accuracy", "curves-train-loss", "experiences",
        "accuracy-matrices", "forgetting", "flips", "sweep-accuracy", "sweep-recall", "sweep-n-epsilon",
    ]  # fmt: skip
    for plot in plots:
        assert plot["role"] == "img" and len(plot["aria-label"]) > 40
        spec = page.data[plot["data-spec"]]
        assert isinstance(spec, dict) and spec["datasets"]
    tables = [attributes["id"] for attributes in page.all("table") if "id" in attributes]
    assert tables == [f"group-1-{name}-table" for name in names]


def test_names_are_text(page: Page) -> None:
    for name in (HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[3], HOSTILE[5]):
        assert name in page.words, "in the tables"
    assert r"\u202ereversed" in page.words and "\u202e" not in page.source
    assert not re.search(r"\b5929\b", page.words), "no template in a name was filled in"
    assert page.source.count("alert(1)</script>") == 0 and "onerror=alert(1)>" not in page.source
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes), "nothing runs but the page's own scripts"
        assert not set(attributes) & {"srcset", "action", "formaction", "poster", "background", "data"}
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/jpeg;base64,"))
    confusion = page.data["group-1-confusion-data"]
    assert isinstance(confusion, dict) and confusion["classes"][0] == HOSTILE[0]


def test_only_the_pages_own_scripts_may_run(page: Page) -> None:
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules.keys() == {"default-src", "img-src", "style-src", "script-src"}
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in page.scripts]
    assert rules["script-src"].split() == [f"'sha256-{text}'" for text in hashes] and len(hashes) == 4
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|importScripts)\b", "".join(page.scripts[1:]))


def test_thumbnails_of_images_that_turned_over(page: Page, folder: Path, tmp_path: Path) -> None:
    sources = [image["src"] for image in page.all("img")]
    assert 10 < len(sources) <= 4 * 2 * 8
    for source in sources:
        Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).load()
    assert "Correct before the last update, wrong after it: Retrain, seed 0" in page.words
    without, _ = report([folder], tmp_path)
    assert not without.all("img") and "Correct before the last update" not in without.words


def test_the_card(page: Page) -> None:
    card = page.words[page.words.rindex("Scenario card") :]
    for words in ("InstanceIncremental, 3 experiences", "split of test, 60", "(seed 0)", "test_resnet, random weights", "FRA, 56 g CO2eq per kWh", "estimated from the load", "torch 2.15", "not recorded", "none found"):  # fmt: skip
        assert words in card
    assert f"MoveToData, seed 0; MoveToData, seed 1; MoveToData, seed 2: note {HOSTILE[0]}" in card


def test_a_comparison_says_its_command_and_what_it_shared(tmp_path: Path) -> None:
    accuracies = {"HeadOnly": {0: 0.6, 1: 0.7}, "Retrain": {0: 0.8, 1: 0.7}}
    make_comparison(tmp_path / "mine", accuracies)
    page, files = report([tmp_path / "mine"], tmp_path / "out")
    assert "lightning-vision compare --output mine" in page.words
    assert "4 runs started from 2 shared bases, which saved training a base 2 times." in page.words
    assert "Differences could not be tested: a test needs at least 3 common seeds" in page.words
    assert "fewer than 3 common seeds" in page.words
    assert sorted(path.name for path in files.tables) == [
        "experiences.csv",
        "per_class.csv",
        "ranking.csv",
        "ranking.md",
        "table.md",
        "table.tex",
    ]
    assert {path.name for path in files.charts} >= {"accuracy-energy.png", "forgetting.png", "flips.png"}
    assert all(path.is_file() for path in (*files.charts, *files.tables))


def test_a_method_without_seeds_is_said_to_be_so_beside_its_interval(tmp_path: Path) -> None:
    predicted = np.tile(np.arange(60) % 3, (2, 1))
    predicted[1, :6] = (predicted[1, :6] + 1) % 3
    for seed in range(3):
        make_run(tmp_path / "runs" / str(seed), predicted=predicted, seed=seed, strategy="strategies.RanPAC")
        make_run(tmp_path / "runs" / f"head {seed}", [0.5, 0.6], seed=seed)
    page, files = report([tmp_path / "runs"], tmp_path / "out")
    row = page.words[page.words.index("RanPAC3") :]
    assert re.match(r"RanPAC390\.0 %7\d\.\d % to 9\d\.\d %the same for every seed-highest mean", row)
    assert page.words.count("the same for every seed") == 1
    assert "the same for every seed" in files.page.with_name("ranking.md").read_text()


def test_groups_stand_apart(tmp_path: Path) -> None:
    make_run(tmp_path / "a", strategy="strategies.HeadOnly")
    make_run(tmp_path / "b", strategy="strategies.RanPAC")
    make_run(tmp_path / "c", strategy="strategies.EWC", classes=("x", "y", "z", "w"))
    page, files = report([tmp_path], tmp_path / "out")
    assert "Not ranked together with" in page.words and "only here" in page.words
    assert "Two trained models, of seed 0" in page.words and "exact McNemar" in page.words
    assert {path.name for path in files.charts} >= {"group-1-flips.png", "group-2-flips.png"}
    domains = [
        re.findall(r'"domain": (\["[^]]*\])', json.dumps(page.data[f"group-{n}-accuracy-time-spec"])) for n in (1, 2)
    ]
    assert {*domains[0], *domains[1]} == {'["HeadOnly", "RanPAC", "EWC"]'}, "one hue a method on the whole page"


def test_the_same_runs_give_the_same_page(folder: Path, page: Page, tmp_path: Path) -> None:
    assert report([folder], tmp_path, jpeg)[0].source == page.source


def test_runs_without_predictions_curves_or_energy(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [0.5], scenario="Joint", energy=None)
    for name in ("predictions.npz", "metrics.csv", "config.yaml"):
        (run / name).unlink()
    page, _ = report([tmp_path], tmp_path / "out")
    assert (
        "The energy of learning is not known" in page.words
        and "No curves and no predictions were recorded" in page.words
    )


def test_many_runs_of_many_classes_stay_small(tmp_path: Path) -> None:
    """12 runs of 196 classes, so that 100 stay below the 15 MB: what is not the libraries grows with the runs."""
    names = [f"a car of make and model number {number}" for number in range(196)]
    for number in range(12):
        strategy = f"strategies.Strategy{number // 3}"
        make_run(tmp_path / "runs" / str(number), [0.5, 0.6, 0.7], strategy=strategy, seed=number % 3, classes=names, images=196 * 10)  # fmt: skip
    page, files = report([tmp_path / "runs"], tmp_path / "out")
    size = files.page.stat().st_size - len(page.scripts[0])
    assert size * 100 / 12 < 13e6


def test_json_cannot_end_its_element() -> None:
    block = json_block({"<a>": ["</script>", "&amp;", "\u2028", "\u202e"], "n": 1.5})
    assert not set("<>&\u2028\u202e") & set(block)
    assert json.loads(block) == {"<a>": ["</script>", "&amp;", r"\u2028", r"\u202e"], "n": 1.5}
    with pytest.raises(ValueError, match="Out of range"):
        json_block([float("nan")])


def test_a_script_cannot_end_its_element() -> None:
    text = script('a = "</script>" + "<!--"').text
    assert "</script" not in text and "<!--" not in text


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "runs" / "a")
    _, files = report([tmp_path / "runs"], tmp_path / "out")
    before = files.page.read_bytes()
    monkeypatch.setattr(page_module, "_page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report([tmp_path / "runs"], tmp_path / "out")
    assert files.page.read_bytes() == before


def test_accuracy_with_the_experience_given_has_a_column_where_there_is_some(tmp_path: Path) -> None:
    task = {"accuracy": [1.0, 0.9], "accuracy_matrix": [[1.0, None], [0.8, 1.0]]}
    changes = {"task": task, "memory_bytes": 536_870_912}
    make_run(tmp_path / "apart", [0.5, 0.6], scenario="ClassIncremental", changes=changes)
    make_run(tmp_path / "shared", [0.5, 0.6])
    apart, shared = (
        write_report(gather([tmp_path / name]), tmp_path / f"{name}-page", None).page.read_text(encoding="utf-8")
        for name in ("apart", "shared")
    )
    assert "experience given" in apart and ">90.0" in apart and "537 M" in apart
    assert "experience given" not in shared and "There is no task accuracy" in shared and "not known" in shared
