"""Every config that is shipped runs, and says what it is. Parts are combined with the quickstart."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from photo_folder import write_photos

from lightning_vision.cli import main
from lightning_vision.program.shipped_configs import MODELINE, config_folder
from lightning_vision.results.resume_options import flatten
from lightning_vision.results.schema import Results, read_results

QUICKSTART = "configs/quickstart.yaml"
ALL = sorted(f"configs/{path.relative_to(config_folder()).as_posix()}" for path in config_folder().rglob("*.yaml"))
# tests/comparison/test_compare_configs.py and test_sweeps.py run those of comparisons and sweeps.
CONFIGS = [config for config in ALL if config.split("/")[1] not in ("compare", "sweeps")]
# They ask for GPUs, or for processes that other tests start: parsed, not run.
PARSED = {f"configs/trainer/{name}.yaml" for name in ("ddp_cpu", "gpu", "multi_gpu", "multi_node")}
# Each part runs once, with parts of the other kinds: a run takes seconds, and combining them is what they are for.
COMBINED = (
    (),
    ("scenario/joint", "strategy/full_fine_tune", "trainer/bf16"),
    ("scenario/instance_incremental", "strategy/full_fine_tune", "trainer/early_stopping"),
    ("scenario/class_incremental", "strategy/head_only", "trainer/cpu"),
    ("scenario/domain_incremental", "strategy/move_to_data", "trainer/bf16_cpu"),
    ("scenario/from_column", "strategy/head_only"),
    ("scenario/online", "strategy/er"),
)
PHOTOS = ["configs/image_folder/base.yaml", "configs/image_folder/increment.yaml"]
# tests/datamodules/test_dataset_configs.py, test_gitw_configs.py and test_benchmark_configs.py run them, and see to it that they
# run all.
OF_DATASETS = [
    config
    for config in CONFIGS
    if config.split("/")[1] not in ("quickstart.yaml", "recipes", "scenario", "strategy", "trainer")
]
SMALL: dict[str, Any] = {
    "trainer.max_epochs": 1,
    "trainer.limit_train_batches": 2,
    "trainer.enable_progress_bar": False,
    "model.base_epochs": 1,
}
SMALL_PHOTOS: dict[str, Any] = {
    "trainer.accelerator": "cpu",
    "model.backbone": "test_resnet",
    "model.pretrained": False,
    "data.init_args.image_size": 32,
    "data.init_args.num_workers": 0,
}


def options_of(config: str) -> dict[str, Any]:
    text = (config_folder() / Path(config).relative_to("configs")).read_text(encoding="utf-8")
    return dict(flatten(yaml.safe_load(text)))


def words(options: dict[str, Any]) -> list[str]:
    return [
        f"--{key}={'true' if value is True else 'false' if value is False else value}" for key, value in options.items()
    ]


def fit(folder: Path, name: str, configs: list[str], options: dict[str, Any]) -> Results:
    """A run that must succeed; the values of the configs, except for the options, must be in the run's own config."""
    asked = [word for config in configs for word in ("--config", config)]
    quiet = ["--energy.enabled=false", "--wandb.mode=disabled"]
    place = [f"--trainer.default_root_dir={folder}", f"--run_name={name}"]
    assert main(["fit", *asked, *words(options), *quiet, *place]) == 0
    kept = dict(flatten(yaml.safe_load((folder / name / "config.yaml").read_text(encoding="utf-8"))))
    for config in configs[1:] or configs:  # the parts ask for different things; the first may be overruled by them
        for key, value in options_of(config).items():
            if key not in {*options, "run_name"}:
                assert kept[key] == value, f"{config}: {key}"
    return read_results(folder / name / "results.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("configs")
    write_photos(folder / "photos")
    write_photos(folder / "new_photos", seed=1)
    return folder


@pytest.fixture(scope="module")
def base(folder: Path) -> Results:
    options = {**SMALL, **SMALL_PHOTOS, "data.root": folder / "photos"}
    return fit(folder, "base", ["configs/image_folder/base.yaml"], options)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_first_line_says_what_it_is(config: str) -> None:
    """`lightning-vision list` shows it. The line before it is for editors."""
    lines = (config_folder() / Path(config).relative_to("configs")).read_text(encoding="utf-8").split("\n")
    first = lines[1] if lines[0].startswith(MODELINE) else lines[0]
    assert first.startswith("# ")
    assert len(first.split()) > 3


def test_every_config_is_run_or_parsed() -> None:
    run = {f"configs/{part}.yaml" for parts in COMBINED for part in parts}
    # test_strategy_configs.py, test_recipe_configs.py
    elsewhere = {config for config in CONFIGS if config.startswith(("configs/strategy/", "configs/recipes/"))}
    assert {QUICKSTART, *run, *PARSED, *PHOTOS, *OF_DATASETS, *elsewhere} == set(CONFIGS)


@pytest.mark.parametrize("parts", COMBINED, ids=lambda parts: "+".join(parts) or "quickstart")
def test_configs_run(parts: tuple[str, ...], folder: Path) -> None:
    configs = [QUICKSTART, *(f"configs/{part}.yaml" for part in parts)]
    results = fit(folder, f"run{COMBINED.index(parts)}", configs, SMALL)
    asked = {key: value for config in configs for key, value in options_of(config).items()}
    assert results.run.complete
    assert results.run.scenario == asked["data.init_args.stream.class_path"].rsplit(".", 1)[-1]
    assert results.run.strategy.class_path == asked["model.strategy.class_path"]
    assert len(results.experiences) == (1 if results.run.scenario == "Joint" else 5)
    assert results.environment.precision == asked.get("trainer.precision", "32-true")


@pytest.mark.parametrize("config", sorted(PARSED))
def test_config_is_understood(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", QUICKSTART, "--config", config, "--print_config"]) == 0
    understood = dict(flatten(yaml.safe_load(capsys.readouterr().out)))
    for key, value in options_of(config).items():
        assert understood[key] == value


def test_a_base_is_trained_on_a_folder(base: Results) -> None:
    """Tomorrow's images are learned from it: it counts as a base, and nothing comes after."""
    assert base.run.complete
    assert base.class_names == ["birds", "cats", "dogs"]
    assert [record.name for record in base.experiences] == ["base"]
    assert base.base.from_checkpoint is None
    assert base.accuracy_before is None


def test_an_increment_learns_a_folder_with_yesterdays_run(base: Results, folder: Path) -> None:
    options = {**SMALL, **SMALL_PHOTOS, "data.root": folder / "new_photos", "model.base_checkpoint": folder / "base"}
    results = fit(folder, "increment", ["configs/image_folder/increment.yaml"], options)
    assert results.run.complete
    assert results.base.from_checkpoint == str(folder / "base" / "checkpoints" / "experience=0000.ckpt")
    assert [record.epochs for record in results.experiences] == [1]
    assert set(results.variants) == {f"epsilon={e}" for e in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)}
    assert results.initial_accuracy == results.first_test.accuracy, "won and lost is told against the given base"
    assert results.notes == [], "a base is what is expected, so nothing is said of it"


def test_training_curves_continue_with_a_given_base(base: Results, folder: Path) -> None:
    """The head of a base is put into place when it is loaded: its logits must still be looked at."""
    options = {**SMALL, **SMALL_PHOTOS, "data.root": folder / "new_photos", "model.base_checkpoint": folder / "base"}
    configs = ["configs/image_folder/increment.yaml", "configs/strategy/head_only.yaml"]
    results = fit(folder, "head-only", configs, options)
    assert results.run.strategy.class_path == "strategies.HeadOnly"
    columns = (folder / "head-only" / "metrics.csv").read_text(encoding="utf-8").split("\n")[0].split(",")
    assert {"train/loss", "train/accuracy", "val/loss", "val/accuracy"} <= set(columns)
