"""Results of a run that was never run."""

import numpy as np

from lightning_vision.results.schema import Results
from lightning_vision.results.scores import score_predictions

NAN = float("nan")
NAMES = ["zebra", "äpfel"]


def made(seconds: float = 1.5) -> Results:
    """Results after one of two experiences, with one variant, from real predictions."""
    scores = score_predictions([0, 0, 1, 1], [0, 1, 1, 1], [0.9, 0.8, 0.7, 0.6], NAMES)
    price = {"seconds": seconds, "energy_kwh": seconds * 1e-5, "co2eq_kg": None}
    return Results.model_validate(
        {
            "schema": 2,
            "run": {
                "name": "first",
                "strategy": {"class_path": "strategies.MoveToData", "init_args": {"epsilon": [1e-6, 0.1]}},
                "base_strategy": None,
                "data": {"class_path": "datamodules.Digits", "train": 8},
                "scenario": "ClassIncremental",
                "experiences": 2,
                "seed": 3,
                "stream_hash": "ab",
                "split_hash": "cd",
                "config_hash": "ef",
                "complete": False,
            },
            "class_names": NAMES,
            "accuracy_matrix": np.array([[0.75, NAN]]).tolist(),
            "test_accuracy": [0.75],
            "seen_accuracy": [0.5],
            "chance": [0.5, NAN],
            "initial_accuracy": None,
            "average_accuracy": 0.75,
            "average_incremental_accuracy": 0.75,
            "forgetting": NAN,
            "backward_transfer": None,
            "forward_transfer": None,
            "task": {"accuracy": [1.0], "accuracy_matrix": [[1.0, None]]},
            "test": scores,
            "first_test": scores,
            "picked_variant": ["epsilon=1e-06"],
            "variants": {
                "epsilon=1e-06": {
                    "key": "epsilon",
                    "value": 1e-6,
                    "test_accuracy": [0.75],
                    "val_accuracy": [0.5],
                    "accuracy_matrix": [[0.75, None]],
                    "test": scores,
                    "extra": {"n_epsilon": {"zebra": 1e-6, "äpfel": 2e-6}},
                }
            },
            "experiences": [
                {
                    "index": 0,
                    "name": "base",
                    "classes": [0],
                    "train_samples": 8,
                    "val_samples": 2,
                    "test_samples": 2,
                    "epochs": 4,
                    "stopped_early": False,
                    **price,
                    "samples_per_second": 8 / seconds,
                    "trainable_parameters": 22,
                    "peak_memory_bytes": int(seconds * 1000),
                    "backbone_images": 32,
                    "evaluation": {**price, "images": 6},
                }
            ],
            "notes": ["after experience 0: two images"],
            "base": {**price, "from_checkpoint": None},
            "network": {"backbone": "resnet18", "total_parameters": 22, "macs": None},
            "memory_bytes": 176,
            "features": {
                "cached": True,
                "reason": "",
                "computed": 6,
                "reused": 2,
                "seconds": seconds,
                "saved_seconds": 0.5,
                "smallest_cosine": None,
            },
            "totals": {**price, "backbone_images": 38},
            "energy": {"mode": "estimated", "country": "FRA", "grid_gco2_per_kwh": 56.0 * seconds},
            "environment": {
                "python": "3.11.2",
                "torch": "2.15.0",
                "lightning": "2.6.6",
                "timm": f"1.0.{int(seconds)}",
                "device": "cpu",
                "devices": 1,
                "precision": "32-true",
                "git_commit": None,
            },
        }
    )
