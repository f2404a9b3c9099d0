"""The table at the end of a run, which a person reads."""

import io

import numpy as np
from rich.console import Console

from lightning_vision.results.schema import Results, Task, Variant
from lightning_vision.results.scores import score_predictions
from lightning_vision.run.summary import print_summary


def found(classes: int = 2, variants: bool = True, experiences: int = 2) -> Results:
    """A run of which every figure is known: 0.5 right after the base, 0.75 at the end."""
    names = [f"class {n}" for n in range(classes)]
    label = np.repeat(np.arange(classes), 4)
    first = score_predictions(
        label, np.where(np.arange(len(label)) % 4 < 2, label, (label + 1) % classes), np.full(len(label), 0.5), names
    )
    last = score_predictions(
        label, np.where(np.arange(len(label)) % 4 < 3, label, (label + 1) % classes), np.full(len(label), 0.5), names
    )
    price = {"seconds": 2.0, "energy_kwh": 1e-5, "co2eq_kg": 5e-7}
    swept = {
        f"epsilon={epsilon}": {
            "test_accuracy": [0.5, after],
            "val_accuracy": [None, after],
            "accuracy_matrix": [[0.5, 0.5], [after - 0.1, after + 0.1]],
            "test": last,
            "extra": {"n_epsilon": {name: 4 * epsilon for name in names}},
        }
        for epsilon, after in ((0.01, 0.75), (0.1, 0.25))
    }
    return Results.model_validate(
        {
            "schema": 2,
            "run": {
                "name": "trial [1]", "strategy": {"class_path": "strategies.MoveToData", "init_args": {}}, "base_strategy": None,
                "data": {}, "scenario": "InstanceIncremental", "experiences": experiences, "seed": 7, "stream_hash": "a",
                "split_hash": "b", "config_hash": "c", "complete": True,
            },
            "class_names": names,
            "accuracy_matrix": [[0.5, 0.5], [0.65, 0.85]][:experiences],
            "test_accuracy": [0.5, 0.75][:experiences], "seen_accuracy": [0.6, 0.75][:experiences], "chance": [0.5, 0.5],
            "initial_accuracy": None, "average_accuracy": 0.75, "average_incremental_accuracy": 0.6, "forgetting": -0.15,
            "backward_transfer": 0.15, "forward_transfer": 0.0, "test": last, "first_test": first,
            "picked_variant": [None, "epsilon=0.01"] if variants else None,
            "variants": swept if variants else {},
            "experiences": [
                {
                    "index": t, "name": name, "classes": list(range(classes)), "train_samples": 10 + t, "val_samples": 2,
                    "test_samples": 4, "epochs": 3 - 2 * t, "stopped_early": False, "samples_per_second": 5.0,
                    "trainable_parameters": 10, "peak_memory_bytes": None, "backbone_images": 30, "evaluation": {**price, "images": 6},
                    **price,
                }
                for t, name in enumerate(["base", "increment 1"][:experiences])
            ],
            "notes": ["the base [knew] more"],
            "base": {**price, "from_checkpoint": None},
            "network": {"backbone": "test_resnet", "total_parameters": 10, "macs": None},
            "totals": {"seconds": 8.0, "energy_kwh": 4e-5, "co2eq_kg": 2e-6, "backbone_images": 72},
            "energy": {"mode": "estimated", "country": "FRA", "grid_gco2_per_kwh": 50.0},
            "environment": {"python": "3", "torch": "2", "lightning": "2", "device": "cpu", "devices": 1, "precision": "32", "git_commit": None},
        }
    )  # fmt: skip


def printed(results: Results, **options: int) -> tuple[list[str], dict[str, list[str]]]:
    """The lines, and the tables' rows by the first cell."""
    console = Console(file=io.StringIO(), width=110, highlight=False)
    print_summary(results, console, **options)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    return lines, {row[0]: row[1:] for row in rows}


def test_each_variant_before_and_after() -> None:
    lines, rows = printed(found())
    assert rows["epsilon=0.01"] == ["50.0 %", "75.0 %", "+25.0", "-15.0", "0.04 to 0.04"]
    assert rows["epsilon=0.1"] == ["50.0 %", "25.0 %", "-25.0", "+35.0", "0.4 to 0.4"]
    assert any("epsilon=0.01 was picked on validation data" in line for line in lines)


def test_the_change_in_recall_of_each_class() -> None:
    _, rows = printed(found())
    assert rows["class 0"] == ["4", "75.0 %", "75.0 %", "75.0 %", "50.0 %", "+25.0"]


def test_the_cost_of_each_experience_and_in_total() -> None:
    lines, rows = printed(found())
    assert rows["1 base"] == ["10", "3", "2.0", "1e-05", "5e-07", "2.0"]
    assert rows["2 increment 1"] == ["11", "1", "2.0", "1e-05", "5e-07", "2.0"]
    assert rows["learning, total"] == ["", "", "4.0", "2e-05", "1e-06", "4.0"]
    text = " ".join(" ".join(lines).split())
    assert "Energy was estimated from the load (no power counter was found); grid of FRA, 50 g CO2eq/kWh." in text
    assert "Total: 4e-05 kWh, 2e-06 kg CO2eq." in text


def test_without_variants_the_course_of_accuracy() -> None:
    lines, rows = printed(found(variants=False))
    assert any("Forgetting -15.0 points, average accuracy 75.0 %" in line for line in lines)
    assert "epsilon=0.01" not in rows


def test_accuracy_with_the_experience_given_and_memory() -> None:
    results = found(variants=False)
    lines, _ = printed(results)
    assert not any("Memory" in line or "experience given" in line for line in lines)
    results.task = Task(accuracy=[0.6, 0.8], accuracy_matrix=[[0.6, None], [0.7, 0.9]])
    results.memory_bytes = 1234
    lines, _ = printed(results)
    assert any("experience given" in line for line in lines)
    assert any("2 increment 1" in line and "80.0 %" in line for line in lines)
    assert "Memory of the learning strategy: 1,234 bytes." in lines
    assert not any("anytime" in line for line in lines)
    results.anytime_accuracy, results.average_anytime_accuracy = [0.4, 0.5], 0.45
    assert "Average anytime accuracy: 45.0 % (2 measurements)." in printed(results)[0]


def test_a_single_experience_has_nothing_to_compare() -> None:
    lines, _ = printed(found(variants=False, experiences=1))
    assert not any("after each experience" in line for line in lines)
    assert any("InstanceIncremental, 1 experience, seed 7" in line for line in lines)


def test_of_many_classes_those_that_changed_most() -> None:
    lines, rows = printed(found(classes=30), most_classes=5)
    assert len([name for name in rows if name.startswith("class ")]) == 5
    assert any("The 5 of 30 classes that changed most" in line for line in lines)


def test_names_and_notes_are_no_markup() -> None:
    lines, _ = printed(found())
    assert any("trial [1]: MoveToData" in line for line in lines)
    assert "Note: the base [knew] more" in lines


def test_what_was_not_measured_is_a_dash() -> None:
    results = found()
    for record in results.experiences:
        record.energy_kwh = record.co2eq_kg = None
    results.energy = None
    lines, rows = printed(results)
    assert rows["1 base"][3:5] == ["-", "-"]
    assert rows["learning, total"][3:5] == ["-", "-"]
    assert not any(line.startswith("Energy") for line in lines)


def test_variants_that_move_nothing_have_no_span() -> None:
    results = found()
    results.variants = {name: Variant(**{**dict(variant), "extra": {}}) for name, variant in results.variants.items()}
    _, rows = printed(results)
    assert rows["epsilon=0.1"][-1] == ""
