"""Every learning strategy that is shipped has a config, which runs on the quickstart's stream in class-incremental steps."""

from pathlib import Path

import pytest
from test_configs import QUICKSTART, SMALL, fit, options_of

import strategies
from lightning_vision.program.shipped_configs import config_folder

pytestmark = pytest.mark.usefixtures("few_digits")
CONFIGS = sorted(path.stem for path in (config_folder() / "strategy").glob("*.yaml"))
FEWER = {name: ("expansion", 200) for name in ("acil", "dsal", "klda")}  # the published sizes take gigabytes
FEWER["ran_pac"] = ("projections", 100)
FEWER["sequential_lora"] = ("rank", 2)  # the quickstart's network is narrow
VIT = {"l2p", "dual_prompt", "coda_prompt"}
ELSEWHERE = {"full_fine_tune", "head_only", "move_to_data"}


def test_every_strategy_has_a_config() -> None:
    keys = ("model.strategy.class_path", "model.base_strategy.class_path")
    parts = [options_of(f"configs/strategy/{name}.yaml") for name in CONFIGS]
    named = {options[key] for options in parts for key in keys if key in options}
    assert named == {f"strategies.{name}" for name in strategies.__all__}


@pytest.mark.parametrize("name", sorted(set(CONFIGS) - ELSEWHERE))
def test_it_runs(name: str, tmp_path: Path) -> None:
    parts = [QUICKSTART, "configs/scenario/class_incremental.yaml", f"configs/strategy/{name}.yaml"]
    options = {**SMALL, "data.init_args.stream.init_args.experiences": 3}
    if name in FEWER:
        option, size = FEWER[name]
        options[f"model.strategy.init_args.{option}"] = size
    if name in VIT:
        options |= {"model.backbone": "test_vit", "data.init_args.image_size": 32}
    results = fit(tmp_path, name, parts, options)
    assert results.run.complete and len(results.experiences) == 3
    assert results.seen_accuracy[-1] is not None
