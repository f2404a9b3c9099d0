"""A training step reads nothing from the device: on a GPU, the host would wait there until all that is queued is computed."""

import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import fit
from lightning.pytorch import Callback
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_vision.learning import training_figures

READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "unique_consecutive")
found: Counter[str] = Counter()


class Reading(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations whose result the host needs, by the line that asked for it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in READS or (name in ("index", "index_put", "index_put_") and any(map(is_mask, args[1]))):
            frames = [f for f in traceback.extract_stack() if f.filename != __file__]
            own = [f for f in frames if "/strategies/" in f.filename or "/lightning_vision/" in f.filename]
            if "one_hot" not in str(own[-1].line):  # it checks its numbers on a CPU, and not on a GPU
                found[f"{Path(own[-1].filename).name}: {own[-1].line}"] += 1
        return func(*args, **(kwargs or {}))


def is_mask(index: torch.Tensor | None) -> bool:
    """An index by bool tensors becomes one by numbers first, and the host needs how many these are."""
    return index is not None and index.dtype == torch.bool


class CountReads(Callback):
    """Counts within the steps."""

    def on_train_batch_start(self, *args: Any) -> None:
        self.reading = Reading()  # type: ignore[no-untyped-call]
        self.reading.__enter__()  # type: ignore[no-untyped-call]

    def on_train_batch_end(self, *args: Any) -> None:
        self.reading.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        steps.append(1)


steps: list[int] = []
MEMORY = ("--model.strategy.memory_size=40",)


# AGEM is not among them: whether a gradient is projected is one read a step.
@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("FullFineTune", ()),
        ("HeadOnly", ()),
        ("EWC", ()),
        ("LwF", ()),
        ("SLCA", ()),
        ("SequentialLoRA", ()),
        ("Replay", MEMORY),
        ("DarkExperienceReplay", MEMORY),
        ("ER", MEMORY),
        ("ERACE", MEMORY),
        ("DER", MEMORY),
        ("DERpp", MEMORY),
        ("GDumb", MEMORY),
        ("ICaRL", MEMORY),
        ("WA", MEMORY),
    ],
)
def test_a_step_reads_nothing(
    strategy: str, options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the losses, which are checked together, on a CPU after each step."""
    monkeypatch.setattr(training_figures.TrainingFigures, "check_loss", lambda self: self._unchecked.clear())
    found.clear()
    steps.clear()
    stream = ("--data.stream=ClassIncremental", "--data.stream.experiences=2", "--data.batch_size=8")
    trained = ("--model.optimizer=SGD", "--trainer.max_epochs=2", "--trainer.callbacks=test_host_reads.CountReads")
    fit(tmp_path, "run", f"--model.strategy={strategy}", *options, *stream, *trained)
    assert len(steps) >= 16
    assert not found
