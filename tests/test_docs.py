"""The README and the pages of docs/ hold what they say: commands and programs run, links lead somewhere.

In a ``bash`` block every line must be a command of ``lightning-vision`` (or one of ``ELSEWHERE``), in a ``python`` block
a program; a block whose first line is a comment with a file name becomes that file. They run page by page, in one folder
a page, on small networks and few batches. ``console`` and ``text`` blocks are shown only, and of ``py`` blocks the imports run.
"""

import ast
import re
import runpy
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import benchmark_maker
import dataset_maker
import gitw_maker
import label_maker
import pandas as pd
import pytest
from dataset_saver import save_dataset
from parquet_maker import write_hub_folder
from photo_folder import write_photos
from shard_maker import write_shards

from lightning_vision.cli import main
from lightning_vision.results.schema import read_results

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.usefixtures("few_digits")
# docs/resume_and_slurm.md starts processes and schedulers of its own and has tests of its own.
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN = [page for page in PAGES if page.name != "resume_and_slurm.md"]
# Set-up, which .ci/run does.
ELSEWHERE = ("python3 -m venv .venv && ", ".venv/bin/pre-commit install")
SMALL = (
    "--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.enable_progress_bar=false",
    "--trainer.accelerator=cpu", "--model.backbone=test_resnet", "--model.pretrained=false", "--model.base_epochs=1",
    "--data.image_size=32", "--data.num_workers=0",
)  # fmt: skip
# Options of other commands that pages give in full, for a reader's data; the last one given holds.
SMALLER = {
    "compare": ("--seeds=0",),
    "explain": ("--measured=10", "--errors=2", "--pairs=1", "--correct=2", "--before_after=2", "--neighbours=10"),
    "export": ("--check_images=20",),
}
DEFAULT_RUN = "MoveToData-InstanceIncremental-seed=0"


@dataclass(frozen=True)
class Block:
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The name in the first line, if that is a comment with nothing but a name."""
        match = re.fullmatch(r"# ([\w./-]+\.(?:py|yaml))", self.text.split("\n")[0])
        return match[1] if match else None

    @property
    def commands(self) -> list[str]:
        return [
            line for line in self.text.replace("\\\n", " ").split("\n") if line.strip() and not line.startswith("#")
        ]


def blocks_of(page: Path) -> list[Block]:
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [Block(language, text) for language, text in found]


def run_command(command: str, page: str) -> None:
    """A command of lightning-vision, made small; what several processes or GPUs are needed for is parsed."""
    program, subcommand, *options = shlex.split(command)
    assert program == "lightning-vision"
    asks = any(option.endswith("help") for option in options)
    options += [] if asks else SMALLER.get(subcommand, ())
    if subcommand in ("fit", "compare") and not asks:
        if any(part in command for part in ("ddp_cpu", "multi_gpu")):
            options.append("--print_config")
        else:
            options += SMALL
            if "--model.backbone test_vit" in command:  # prompts need a ViT
                options.append("--model.backbone=test_vit")
            if "configs/quickstart.yaml" in command and not re.search("scenario|stream", command):
                options.append("--data.stream.experiences=3")
            options += [] if page == "energy.md" else ["--energy.enabled=false"]
            options += [] if "--wandb.mode" in options else ["--wandb.mode=disabled"]
    assert main([subcommand, *options]) == 0, command


def run_block(block: Block, page: str, number: int) -> None:
    if block.file is not None:
        Path(block.file).write_text(block.text, encoding="utf-8")
    if block.language == "python":
        program = Path(block.file or f"block_{number}.py")
        program.write_text(block.text, encoding="utf-8")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PL_RUNTRAINER_LIMIT_TRAIN_BATCHES", "2")  # Lightning's name for an option of our Trainer
            runpy.run_path(str(program))
    elif block.language == "py":
        parts = ast.parse(block.text).body
        exec(
            compile(
                ast.Module([part for part in parts if isinstance(part, ast.Import | ast.ImportFrom)], []), page, "exec"
            )
        )
    elif block.language == "bash":
        for command in block.commands:
            if not command.startswith(ELSEWHERE):
                run_command(command, page)
    else:
        assert block.language in ("yaml", "toml", "console", "text", "json"), f"```{block.language} is not known here"


@pytest.fixture(scope="module")
def made_desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader has: the run of the README's first command, two folders of photos, and the tables that the pages speak of."""
    folder = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_command("lightning-vision fit --config configs/quickstart.yaml", "README.md")
    shutil.copy(folder / "runs" / DEFAULT_RUN / "results.json", folder)
    photos = write_photos(folder / "photos")
    write_photos(folder / "new_photos", seed=1)
    paths = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
    days = [f"2026-03-{1 + number % 3:02d}" for number in range(len(paths))]
    pd.DataFrame({"path": paths, "day": days, "group": None}).to_csv(folder / "facts.csv", index=False)
    classes = [path.split("/")[0] for path in paths]
    pd.DataFrame({"path": paths, "class": classes, "day": days}).to_csv(photos / "table.csv", index=False)
    benchmark_maker.write_all(folder)
    dataset_maker.write_all(folder)
    label_maker.write_all(folder)
    save_dataset(folder / "saved", {"train": 12, "validation": 4})
    write_shards(folder / "shards", {"train": 2, "test": 1})
    write_hub_folder(folder / "hub")
    gitw_maker.write_gitw(folder / "GITW", gitw_maker.ENOUGH)
    return folder


@pytest.fixture
def desk(made_desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it for one page, as the working directory."""
    shutil.copytree(made_desk, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    return tmp_path


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_page_runs(page: Path, desk: Path) -> None:
    for number, block in enumerate(blocks_of(page)):
        run_block(block, page.name, number)
    for results in desk.glob("runs/*/results.json"):
        assert read_results(results).run.complete, results


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        found = page.parent / file if file else page
        assert found.is_file(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, target


def test_every_page_is_in_the_contents() -> None:
    contents = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"} <= set(
        re.findall(r"\((\w+\.md)\)", contents)
    )


@pytest.mark.parametrize("page", ["choose", "coming_from", "gallery"])
def test_commands_that_are_only_shown_can_be_parsed(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their data or their time is more than a test has."""
    monkeypatch.chdir(tmp_path)
    shown = [block.text for block in blocks_of(ROOT / "docs" / f"{page}.md") if block.language == "console"]
    commands = [shlex.split(text.removeprefix("$ "))[1:] for text in shown if text.startswith("$ lightning-vision ")]
    assert commands
    for command in commands:
        if command[0] in ("fit", "compare"):
            assert main([*command, "--print_config"]) == 0, capsys.readouterr().err


def test_the_figures_for_choosing_are_those_of_the_pages_that_it_names() -> None:
    page = ROOT / "docs" / "choose.md"
    text = page.read_text(encoding="utf-8")
    named = {target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)}
    sources = "\n".join((page.parent / name).read_text(encoding="utf-8") for name in sorted(named))
    figures = re.findall(r"(?<![\d.])\d+\.\d+", text)
    assert len(figures) > 40
    assert [figure for figure in figures if not re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d)", sources)] == []


def test_the_example_strategy_is_short() -> None:
    """A new gradient strategy takes at most 30 lines, imports and docstring included."""
    (example,) = [b for b in blocks_of(ROOT / "docs" / "write_a_strategy.md") if b.file == "stay_close.py"]
    assert len([line for line in example.text.split("\n")[1:] if line.strip()]) <= 30


def test_the_scores_of_the_page_are_those_of_its_formulas(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The example's matrix is small enough to be computed by hand, and forgetting is not minus the backward transfer."""
    (example,) = [block for block in blocks_of(ROOT / "docs" / "scenarios.md") if block.language == "python"]
    program = tmp_path / "example.py"
    program.write_text(example.text, encoding="utf-8")
    runpy.run_path(str(program))
    assert capsys.readouterr().out.split() == ["0.7667", "0.15", "-0.125"]
