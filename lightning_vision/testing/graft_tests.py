"""The kit's tests of what is set into a backbone, and of images that must not influence each other's predictions."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor

from lightning_vision.errors import CheckpointError
from lightning_vision.learning.checkpoint_identity import replay_grafts
from lightning_vision.learning.checkpoints import read_checkpoint
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.testing.tensors import nearly_equal, variants_of
from lightning_vision.testing.trial import Run, Trial, test_batches

LOOKED_AT = 12


def is_kept(name: str) -> bool:
    """Whether an entry of a checkpoint's state is kept beside the network's own weights: a strategy's, a graft's, the original's."""
    grafted = ".grafts." in name and not name.endswith(".original")
    return grafted or name.startswith(("strategy.", "network.original."))


class GraftTests:
    """A part of ``StrategyConformance``."""

    trial: Trial

    def _whole(self) -> Run:
        raise NotImplementedError

    def _fail(self, text: str) -> NoReturn:
        raise NotImplementedError

    def test_images_do_not_meet(self) -> None:
        """Logits of an image are the same in any batch, of one image too, and in any order."""
        run = self._whole()
        model, data = self.trial.load(run, run.finished - 1)
        batches = test_batches(model, data)
        whole: dict[str, Any] = {
            name: torch.cat([batch[name] for batch in batches])  # type: ignore[literal-required]
            for name, value in batches[0].items()
            if isinstance(value, Tensor)
        }
        spread = torch.arange(len(whole["label"]))[
            :: max(1, len(whole["label"]) // LOOKED_AT)
        ]  # classes lie one behind the other
        together = _logits(model, whole, spread)
        for how, orders in (("one by one", torch.split(spread, 1)), ("in reverse", (spread.flip(0),))):
            parts = [_logits(model, whole, rows) for rows in orders]
            for name, value in together.items():
                found = torch.cat([part[name] for part in parts])
                if not nearly_equal(value, found if how == "one by one" else found.flip(0)):
                    self._fail(
                        f"predict gives other logits if the images come {how} than in one batch. Test images often come sorted by "
                        "class, so a choice over a batch is told the class. Predict each image from itself alone."
                    )

    def test_grafts_are_replayed(self) -> None:
        """A network that gets the grafts which a checkpoint names can load it, and preparing an experience twice sets no more."""
        run = self._whole()
        for t in range(run.finished):
            checkpoint = read_checkpoint(RunDirectory(run.path).finished(t))
            model, data = self.trial.load(run, t)
            before = list(model.network.grafts)
            model.begin_experience(data.stream[t])
            if model.network.grafts != before:
                self._fail(
                    f"before_experience sets {len(model.network.grafts) - len(before)} graft(s) more if it is called for experience {t} "
                    "again, as it is when a run resumes. Derive the key from the experience, and call network.graft with it."
                )
            bare, _ = self.trial.load(run, -1)
            prefix = "network."
            saved = {
                name.removeprefix(prefix): value
                for name, value in checkpoint["state_dict"].items()
                if name.startswith(prefix)
            }
            try:
                replay_grafts(bare.network, checkpoint["lightning_vision"])
                bare.network.load_state_dict(saved)
            except (CheckpointError, RuntimeError) as error:
                self._fail(
                    f"A network with the grafts that the checkpoint of experience {t} names cannot load it, so no other run can "
                    f"start from it: {' '.join(str(error).split())[:300]} Set modules with network.graft alone."
                )

    def test_ungrafted_backbone_is_intact(self) -> None:
        """With its grafts off, the backbone computes what it did after experience 0, bit for bit."""
        run = self._whole()
        model, data = self.trial.load(run, run.finished - 1)
        if not model.network.grafts:
            return
        first, _ = self.trial.load(run, 0)
        image = test_batches(model, data)[0]["image"]
        with torch.inference_mode(), model.network.only(), first.network.only():
            now, then = model.network.features(image), first.network.features(image)
        if not torch.equal(now, then):
            self._fail(
                "With its grafts switched off, the backbone gives other features than after experience 0. Train the grafts alone "
                "(network.grafted in parameters_to_train), or give the reason in `exempt`: {'ungrafted_backbone_is_intact': reason}."
            )


@torch.inference_mode()
def _logits(model: ContinualClassifier, whole: dict[str, Any], rows: Tensor) -> dict[str, Tensor]:
    batch: Any = {name: value[rows] for name, value in whole.items()}
    return variants_of(model.predict_logits(batch))
