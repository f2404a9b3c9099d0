"""The scenario card: what a backbone was trained on before, and views that all seeds share."""

from pathlib import Path
from typing import Any

import pytest
from run_maker import make_run

from lightning_vision.report.card import scenario_card
from lightning_vision.report.gather import gather


@pytest.mark.parametrize(
    ("backbone", "options", "words"),
    [
        ("test_resnet", {"model.pretrained": False}, "none"),
        (
            "tf_efficientnetv2_b3.in21k_ft_in1k",
            {"model.pretrained": True},
            "ImageNet-21k and ImageNet-1k; overlap with the test images was not checked",
        ),
        ("resnet18.other_data", {"model.pretrained": True}, "see timm's tag other_data; overlap"),
        ("resnet18", {"model.pretrained": True}, "see timm's default weights of that name; overlap"),
        (
            "resnet18",
            {"model.pretrained": True, "model.backbone_weights": "w.pt"},
            "not known, the weights come from a file",
        ),
    ],
)
def test_what_the_backbone_saw_before(backbone: str, options: dict[str, Any], words: str, tmp_path: Path) -> None:
    make_run(tmp_path / "run", options=options, changes={"network.backbone": backbone})
    (group,) = gather([tmp_path]).groups
    (fact,) = [fact for fact in scenario_card(group) if fact.name == "data of the pretrained backbone"]
    assert len(fact.values) == 1 and fact.values[0].startswith(words)


@pytest.mark.parametrize(
    ("views", "values"),
    [
        ([None, 0], []),
        ([2, 2], ["2 of each image if the backbone is frozen, drawn with data.seed 0 and the same for all seeds"]),
        (
            [2, None],
            [
                "2 of each image if the backbone is frozen, drawn with data.seed 0 and the same for all seeds (seed 0)",
                "none (seed 1)",
            ],
        ),
    ],
)
def test_views_are_said_to_be_the_same_for_all_seeds(
    views: list[int | None], values: list[str], tmp_path: Path
) -> None:
    for seed, count in enumerate(views):
        changes = {"run.data.init_args.views": count, "run.data.init_args.seed": 0}
        make_run(tmp_path / str(seed), seed=seed, changes=changes)
    (group,) = gather([tmp_path]).groups
    found = [fact.values for fact in scenario_card(group) if fact.name.startswith("augmented views")]
    assert found == ([values] if values else [])
