"""Every strategy passes the kit for plugin authors."""

from typing import Any

import strategies
from lightning_vision.testing import StrategyConformance

GROWS = "It adds prompts with each experience, as published."

# A line for each strategy that a tiny run needs limits, and for a second look at one: name -> attributes of the test.
SMALL: dict[str, dict[str, Any]] = {
    "Replay": {"options": {"memory_size": 8, "memory_batch_size": 4}},
    "DarkExperienceReplay": {"options": {"memory_size": 8, "memory_batch_size": 4}},
    "AGEM": {"options": {"memory_size": 8, "memory_batch_size": 4}},
    "ER": {"options": {"memory_size": 8, "memory_batch_size": 4}},
    # One class an experience: the memory alone teaches the head, so that it takes longer. Longer steps, or half as many again, let
    # what rounding makes of the weights grow beyond the tolerance.
    "ERACE": {"options": {"memory_size": 16, "memory_batch_size": 8}, "arguments": ["--trainer.max_epochs=4"]},
    "DER": {"options": {"memory_size": 8, "memory_batch_size": 4}},
    "DERpp": {  # three passes a step: Adam would turn what rounding leaves of gradients that are 0 into whole steps
        "options": {"memory_size": 8, "memory_batch_size": 4},
        "arguments": ["--model.optimizer=SGD", "--model.optimizer.lr=0.05"],
    },
    "ICaRL": {"options": {"memory_size": 8}},
    "WA": {"options": {"memory_size": 8}},
    "GDumb": {
        "options": {"memory_size": 16},
        "exempt": {
            "head_may_grow": "It starts from the initial weights, and would forget what only the base has seen."
        },
    },
    "L2P": {"needs_vit": True, "options": {"pool": 3, "length": 2, "top_k": 2}},
    "DualPrompt": {
        "needs_vit": True,
        "options": {"general_length": 2, "expert_length": 2},
        "exempt": {"memory_is_bounded": GROWS},
    },
    "CODAPrompt": {
        "needs_vit": True,
        "options": {"components": 2, "length": 2},
        "exempt": {"memory_is_bounded": GROWS},
    },
    "APER": {
        "exempt": {
            "head_may_grow": "It needs the backbone from before the base was trained, which other bases do not keep."
        }
    },
    "FirstSession": {"options": {"mode": "scale_shift"}},
    "SequentialLoRA": {"options": {"rank": 2}},
    "RanPAC": {"options": {"projections": 32}},
    "ACIL": {"options": {"expansion": 32}},
    "DSAL": {"options": {"expansion": 32}},
    "KLDA": {"options": {"expansion": 32}},
    "SklearnHead": {
        "options": {"estimator_args": {"n_estimators": 10}},
        "exempt": {"memory_is_bounded": "A random forest is fitted anew to all features so far, which are kept."},
    },
    "AvalanchePlugin": {  # Avalanche's other mode keeps a penalty an experience
        "options": {"plugin": "EWCPlugin", "plugin_args": {"ewc_lambda": 1.0, "mode": "online", "decay_factor": 0.9}}
    },
    "RetrainFromBase": {"strategy": "strategies.Retrain", "options": {"start": "base"}},
    "Retrain": {
        "exempt": {"head_may_grow": "It starts from the initial weights, and would forget what only the base has seen."}
    },
}

for name in dict.fromkeys([*strategies.__all__, *SMALL]):
    body = {"strategy": f"strategies.{name}", "__module__": __name__, **SMALL.get(name, {})}
    globals()[f"Test{name}"] = type(f"Test{name}", (StrategyConformance,), body)
