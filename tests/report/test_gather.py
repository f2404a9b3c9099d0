"""From folders to groups: what is ranked together, what is not and why, and what is left out."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_maker import make_comparison, make_run

from lightning_vision.errors import ConfigError, DataError
from lightning_vision.report.gather import gather
from lightning_vision.report.matrices import match, matrix_of
from lightning_vision.report.runs import GatheredRuns, Group

EWC = "strategies.EWC"


def only_group(folder: Path) -> Group:
    (group,) = gather([folder]).groups
    return group


def reasons(comparison: GatheredRuns) -> dict[str, str]:
    return {left.path.name: left.reason for left in comparison.left_out}


def test_runs_of_one_stream_are_one_group(tmp_path: Path) -> None:
    make_run(tmp_path / "a" / "x", [0.5, 0.7], seed=0)
    make_run(tmp_path / "b" / "deep" / "y", [0.5, 0.8], seed=0, strategy=EWC)
    make_run(tmp_path / "z", [0.5, 0.6], seed=1)
    comparison = gather([tmp_path])
    (group,) = comparison.groups
    assert group.name == "Digits, InstanceIncremental with 2 experiences"
    assert [(m.label, m.strategy, [r.seed for r in m.runs]) for m in group.methods] == [
        ("EWC", "EWC", [0]),
        ("HeadOnly", "HeadOnly", [0, 1]),
    ]
    assert (comparison.title, comparison.command, comparison.left_out) == (tmp_path.name, None, [])
    assert any("EWC has no complete run with seed 1" in remark for remark in group.remarks)


def test_a_run_counts_once_however_often_its_folder_is_given(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    (group,) = gather([tmp_path, run, run / ".." / "a"]).groups
    assert len(group.runs) == 1 and not group.remarks


def test_a_comparison_names_its_methods_bases_and_command(tmp_path: Path) -> None:
    make_comparison(tmp_path / "mine", {"HeadOnly": {0: 0.6, 1: 0.7}, "Retrain": {0: 0.8, 1: 0.8}})
    comparison = gather([tmp_path / "mine"])
    (group,) = comparison.groups
    assert (comparison.title, comparison.command) == ("mine", "lightning-vision compare --output mine")
    assert [method.label for method in group.methods] == ["Retrain", "HeadOnly"]
    assert [(base.method, base.seed, base.is_base, base.unfinished) for base in group.bases] == [
        ("Base", 0, True, None),
        ("Base", 1, True, None),
    ]
    assert not group.remarks


def test_bases_are_known_without_their_comparison(tmp_path: Path) -> None:
    folder = make_comparison(tmp_path / "mine", {"HeadOnly": {0: 0.6}})
    (folder / "comparison.json").unlink()
    group = only_group(folder)
    assert [base.method for base in group.bases] == ["Base"]
    assert [method.label for method in group.methods] == ["HeadOnly"]


def test_bases_of_several_settings_stand_side_by_side(tmp_path: Path) -> None:
    for size in (32, 64):
        folder = make_comparison(
            tmp_path / str(size), {"HeadOnly": {0: 0.6}}, options={"data.init_args.image_size": size}
        )
    assert len(only_group(folder).bases) == 1
    labels = [base.method for base in only_group(tmp_path).bases]
    assert labels == ["Base image_size=32", "Base image_size=64"]


def test_cells_that_failed_or_have_not_run_are_named(tmp_path: Path) -> None:
    folder = make_comparison(tmp_path / "c", {"A": {0: 0.6, 1: 0.7}, "B": {0: 0.8}})
    for name in ("A-seed=1", "B-seed=0"):
        (folder / "runs" / name / "results.json").unlink()
    make_run(folder / "runs" / "A-seed=0", [0.5, 0.6], experiences=3, strategy="strategies.A")
    (folder / "runs" / "A-seed=1" / "config.yaml").unlink()
    failed = {
        "B-seed=0": {"exit_code": 1, "error": "out of memory"},
        "A-seed=0": {"exit_code": 1, "error": "disk full"},
    }
    (folder / "failed.json").write_text(json.dumps(failed))
    comparison = gather([folder])
    assert reasons(comparison) == {
        "A-seed=1": "the comparison has not run it yet",
        "B-seed=0": "it failed with exit code 1: out of memory",
    }
    (group,) = comparison.groups
    assert group.runs[0].unfinished == "2 of 3 experiences; it failed: disk full"
    assert any("A with seed 0 is not finished (2 of 3 experiences; it failed: disk full)" in r for r in group.remarks)


def test_unfinished_runs_are_shown_and_not_ranked(tmp_path: Path) -> None:
    make_run(tmp_path / "a", [0.5, 0.9], experiences=3)
    make_run(tmp_path / "b", [0.5, 0.6, 0.7], strategy=EWC)
    group = only_group(tmp_path)
    assert [method.label for method in group.methods] == ["EWC", "HeadOnly"]
    assert [row.label for row in group.ranking.methods] == ["EWC"]
    assert any("HeadOnly with seed 0 is not finished (2 of 3 experiences" in remark for remark in group.remarks)


def test_a_run_that_has_not_finished_an_experience_is_left_out_with_its_reason(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    (make_run(tmp_path / "b") / "results.json").unlink()
    assert "no experience is finished yet" in reasons(gather([tmp_path]))["b"]


def test_a_config_beside_the_folder_of_runs_is_no_run(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "a")
    (tmp_path / "config.yaml").write_text("mine: true")
    assert gather([tmp_path]).left_out == []


def test_classes_in_another_order_are_matched_by_name(tmp_path: Path) -> None:
    make_run(tmp_path / "a", [0.5, 0.7], epsilons=(0.1, 0.5), energy=1.0)
    make_run(tmp_path / "b", [0.5, 0.7], epsilons=(0.1, 0.5), order=[2, 0, 1], seed=0, strategy=EWC, init_args={})
    first = json.loads((tmp_path / "a" / "results.json").read_text())
    swapped = json.loads((tmp_path / "b" / "results.json").read_text())
    group = only_group(tmp_path)
    assert group.class_names == ["ant", "bee", "cat"]
    run = next(run for run in group.runs if run.strategy == "EWC")
    assert swapped["class_names"] == run.file_classes == ["cat", "ant", "bee"]
    for found, written in (
        (run.results.test, swapped["test"]),
        (run.results.first_test, swapped["first_test"]),
        (run.results.variants["epsilon=0.1"].test, swapped["variants"]["epsilon=0.1"]["test"]),
    ):
        counts = np.array(written["confusion_matrix"])
        assert found.confusion_matrix == counts[np.ix_([1, 2, 0], [1, 2, 0])].tolist()
        assert list(found.per_class) == ["ant", "bee", "cat"]
        assert found.per_class == written["per_class"]
    predictions = run.predictions()
    assert predictions is not None
    assert predictions.label.tolist() == [n % 3 for n in range(60)]
    assert (predictions.correct[-1].mean()) == pytest.approx(run.accuracy)
    right = np.diag(run.results.test.confusion_matrix)
    assert np.bincount(predictions.label[predictions.correct[-1]]).tolist() == right.tolist()
    assert first["class_names"] == group.runs[0].results.class_names
    assert any(
        "1 run of 2 have another order of the classes" in remark and "matched by name" in remark
        for remark in group.remarks
    )
    assert match(*(matrix_of([run]) for run in group.runs)) is not None


def test_classes_of_experiences_follow_the_order(tmp_path: Path) -> None:
    make_run(tmp_path / "a", scenario="ClassIncremental")
    make_run(tmp_path / "b", scenario="ClassIncremental", order=[2, 0, 1], strategy=EWC)
    for run in only_group(tmp_path).runs:
        assert [record.classes for record in run.results.experiences] == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"images_from": "other"}, "the test images differ (60 here, 60 there)"),
        ({"images": 90}, "the test images differ"),
        ({"classes": ("ant", "bee", "dog")}, "the classes differ (3 classes here and 3 there, only here 'dog', only there 'cat')"),
        ({"classes": ("ant", "bee")}, "the classes differ (2 classes here and 3 there, only there 'cat')"),
        ({"scenario": "ClassIncremental"}, "the scenario is ClassIncremental here and InstanceIncremental there"),
        ({"accuracies": (0.5, 0.6)}, "the stream has 2 experiences here and 3 there"),
    ],
)  # fmt: skip
def test_what_must_not_be_ranked_together_stands_apart(tmp_path: Path, changed: dict[str, Any], why: str) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", seed=1)
    make_run(tmp_path / "c", strategy=EWC, **changed)
    first, second = gather([tmp_path]).groups
    assert len(first.runs) == 2 and len(second.runs) == 1
    assert first.name != second.name
    assert second.remarks[0].startswith(f"Not ranked together with “{first.name}”: ")
    assert why in second.remarks[0]
    assert first.remarks[0].startswith(f"Not ranked together with “{second.name}”: ")


def test_the_same_images_in_another_order_are_the_same_test_set(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    path = make_run(tmp_path / "b", strategy=EWC) / "predictions.npz"
    with np.load(path) as file:
        arrays = {key: file[key][..., ::-1] for key in file.files}
    np.savez(path, **arrays)
    group = only_group(tmp_path)
    assert len(group.runs) == 2
    assert match(*(matrix_of([run]) for run in group.runs)) is not None


def test_a_image_with_another_label_is_another_test_set(tmp_path: Path) -> None:
    labels = np.arange(60) % 3
    make_run(tmp_path / "a", labels=labels)
    make_run(tmp_path / "b", labels=np.roll(labels, 1))
    assert len(gather([tmp_path]).groups) == 2


def test_without_predictions_the_split_decides(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    (make_run(tmp_path / "b", strategy=EWC) / "predictions.npz").unlink()
    group = only_group(tmp_path)
    assert len(group.runs) == 2
    assert any("b: it has no predictions.npz" in remark for remark in group.remarks)


def test_one_base_for_all_seeds_is_remarked(tmp_path: Path) -> None:
    """What another base would change is in no interval then; with a base a seed it is."""
    base = make_run(tmp_path / "base", [0.5], is_base=True)
    for seed in (0, 1):
        make_run(tmp_path / "one" / str(seed), base=base, seed=seed)
        make_run(tmp_path / "own" / str(seed), base=tmp_path / f"base {seed}", seed=seed)
    said = "All runs start from one base, whatever their seed: intervals and tests apply to this base"
    assert any(said in remark for remark in only_group(tmp_path / "one").remarks)
    assert not any(said in remark for remark in only_group(tmp_path / "own").remarks)


def test_another_order_of_the_stream_is_remarked(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", strategy=EWC, changes={"run.stream_hash": "other"})
    (remark,) = only_group(tmp_path).remarks
    assert "Runs with seed 0 did not all learn the same experiences in the same order" in remark


def test_of_runs_that_are_alike_the_newest_complete_one_counts(tmp_path: Path) -> None:
    make_run(tmp_path / "old", [0.5, 0.6])
    make_run(tmp_path / "new", [0.5, 0.7])
    make_run(tmp_path / "newest", [0.5], experiences=2)
    for age, name in enumerate(("newest", "new", "old")):
        os.utime(tmp_path / name / "results.json", (1_000_000 - age, 1_000_000 - age))
    group = only_group(tmp_path)
    assert [run.path.name for run in group.runs] == ["new"]
    (remark,) = group.remarks
    assert remark.startswith("HeadOnly was run more than once with seed 0")
    assert all(name in remark for name in ("old", "newest", "the newest complete one"))


def test_own_and_given_bases_are_remarked(tmp_path: Path) -> None:
    base = make_run(tmp_path / "a")
    make_run(tmp_path / "b", strategy=EWC, base=base)
    assert any("HeadOnly trained the base in the run" in remark for remark in only_group(tmp_path).remarks)


def test_measured_and_estimated_energy_are_remarked(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", strategy=EWC, changes={"energy.mode": "measured"})
    assert any("energy of some runs is estimated and of others measured" in r for r in only_group(tmp_path).remarks)


def test_damaged_runs_are_left_out_and_the_others_kept(tmp_path: Path) -> None:
    make_run(tmp_path / "good")
    whole = (tmp_path / "good" / "results.json").read_text()
    contents = {
        "truncated": whole[: len(whole) // 2],
        "newer": whole.replace('"schema": 2', '"schema": 3', 1),
        "empty": "",
        "other": '{"schema": "one"}',
        "list": "[]",
        "binary": "\x00\x01",
        "nan": whole.replace('"ece": 0', '"ece": NaN0', 1),
        "infinite": whole.replace('"seconds": 2.0', '"seconds": 1e999', 1),
        "nested": "[" * 100_000,
    }
    for name, text in contents.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(text)
    comparison = gather([tmp_path])
    assert len(comparison.groups[0].runs) == 1
    found = reasons(comparison)
    assert found.keys() == contents.keys()
    assert "truncated or damaged" in found["truncated"]
    assert "newer lightning_vision" in found["newer"]
    assert "nested too deeply" in found["nested"] or "truncated" in found["nested"]
    assert all(found.values())


def test_a_results_json_that_is_no_file(tmp_path: Path) -> None:
    make_run(tmp_path / "good")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "results.json")
    (tmp_path / "folder" / "results.json").mkdir(parents=True)
    assert "is no file" in reasons(gather([tmp_path]))["pipe"]


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 2}', '{"schema": 1, "name": 3}'])
def test_a_comparison_that_cannot_be_read_takes_the_names_only(tmp_path: Path, content: str) -> None:
    folder = make_comparison(tmp_path / "c", {"HeadOnly": {0: 0.6}})
    (folder / "comparison.json").write_text(content)
    comparison = gather([folder])
    assert [method.label for method in comparison.groups[0].methods] == ["HeadOnly"]
    assert "labelled by their options" in reasons(comparison)["comparison.json"]


def test_a_record_of_tuning_that_cannot_be_read_takes_nothing_else(tmp_path: Path) -> None:
    folder = make_comparison(tmp_path / "c", {"HeadOnly": {0: 0.6}})
    (folder / "tuning.json").write_text('{"schema": 2}')
    comparison = gather([folder])
    assert comparison.command is not None and not comparison.tunings
    assert "newer lightning_vision wrote it" in reasons(comparison)["tuning.json"]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("a: [1, 2", "cannot be read"),
        ("[]", "contains no options"),
        ("a: !!python/object/apply:os.system ['true']", "cannot be read"),
        ("a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(f"{k}: &{k} [*{p}, *{p}, *{p}, *{p}, *{p}, *{p}, *{p}, *{p}, *{p}]" for p, k in zip("abcdefgh", "bcdefghi", strict=True)), "more than 100,000 options"),
        ("a: &a [*a]", "nested too deeply"),
        ("a: " + "[" * 10_000, "nested too deeply"),
        ("[" * 200_000 + "]" * 200_000, "nested too deeply"),  # by which the compiled reader would end the process
        ("a: " + "{b: " * 200 + "}" * 200, "nested too deeply"),
    ],
)  # fmt: skip
def test_a_hostile_config_is_not_used(tmp_path: Path, config: str, why: str) -> None:
    make_run(tmp_path / "a")
    (tmp_path / "a" / "config.yaml").write_text(config)
    group = only_group(tmp_path)
    assert group.runs[0].config == {}
    assert [method.label for method in group.methods] == ["HeadOnly"]
    assert any("config.yaml cannot be read" in remark and why in remark for remark in group.remarks)


def test_hostile_names_are_carried_as_text(tmp_path: Path) -> None:
    names = ("<script>alert(1)</script>", "a|b`c` ${x} =1+1", "x" * 100_000)
    make_run(tmp_path / "a", classes=names, strategy="strategies.<img src=x onerror=alert(1)>")
    make_run(tmp_path / "b", classes=names, init_args={"y" * 10_000: "z" * 10_000})
    group = only_group(tmp_path)
    assert group.class_names == list(names)
    assert all(len(method.label) <= 120 for method in group.methods)


def test_no_run_directory_is_refused_with_a_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Expected run directories \(folders with a results.json\).*found none"):
        gather([tmp_path])
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        gather([tmp_path / "nowhere"])
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file"):
        gather([tmp_path / "file"])


def test_only_unusable_runs_are_refused_with_their_reasons(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "results.json").write_text("{")
    with pytest.raises(DataError, match=r"(?s)None of the 1 run.*a: Expected JSON"):
        gather([tmp_path])


def test_gathering_loads_neither_torch_nor_lightning() -> None:
    code = (
        "import sys, lightning_vision.report.gather, lightning_vision.report.tables, lightning_vision.report.sharing;"
        "print(sorted({'torch', 'lightning', 'matplotlib', 'strategies', 'datamodules'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("init_args", "said"),
    [
        ([{"seed": None}, {"seed": None}], []),
        (
            [{"seed": 3}, {"seed": 3}],
            ["RanPAC: the option seed was fixed to 3 in all its runs, so its random draws are not part of the spread over seeds."],
        ),
        (
            [{"seed": None}, {"seed": 0}],
            ["RanPAC: the option seed was fixed to 0 in the runs of seed 1, so its random draws are not part of the spread over seeds."],
        ),
        (
            [{"estimator_args": {"base__random_state": 7}}] * 2,
            ["RanPAC: the option estimator_args.base__random_state was fixed to 7 in all its runs, so its random draws are not part of the spread over seeds."],
        ),
    ],
)  # fmt: skip
def test_a_draw_that_was_pinned_is_said(init_args: list[dict[str, Any]], said: list[str], tmp_path: Path) -> None:
    for seed, arguments in enumerate(init_args):
        make_run(tmp_path / str(seed), strategy="strategies.RanPAC", init_args=arguments, seed=seed)
    (group,) = gather([tmp_path]).groups
    assert [remark for remark in group.remarks if "was fixed to" in remark] == said
