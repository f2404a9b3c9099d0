"""The checkpoints of a stage: the last and the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint


class MovableCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that keeps its best score when the run directory was moved in between.

    Lightning's own drops its best score, with a warning, if the folder has another name.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state as if it had been written in this folder."""
        here = {**state_dict, "dirpath": self.dirpath}
        for key in ("best_model_path", "last_model_path", "kth_best_model_path"):
            if here.get(key):
                here[key] = self._moved(here[key])
        here["best_k_models"] = {self._moved(path): score for path, score in here.get("best_k_models", {}).items()}
        super().load_state_dict(here)

    def _moved(self, path: str) -> str:
        return str(Path(self.dirpath or "") / Path(path).name)


def last_checkpoint(path: Path) -> ModelCheckpoint:
    """Rewrites one file at the end of each epoch. ``save_last`` does so only if the monitored value improves."""
    return MovableCheckpoint(
        dirpath=path.parent,
        filename=path.stem,
        monitor=None,
        save_top_k=1,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
        auto_insert_metric_name=False,
    )


def best_checkpoint(path: Path, monitor: str) -> ModelCheckpoint:
    """Keeps the checkpoint of the epoch that is best on the experience's own validation part; the first of equals."""
    return MovableCheckpoint(
        dirpath=path.parent,
        filename=path.stem,
        monitor=monitor,
        mode="min" if monitor.endswith("loss") else "max",
        save_top_k=1,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
        auto_insert_metric_name=False,
    )
