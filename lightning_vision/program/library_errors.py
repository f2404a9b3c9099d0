"""Translates errors of libraries into messages for users, and filters their warnings."""

from __future__ import annotations

import errno
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lightning_vision.errors import ConfigError, DataError, TrainingError, UserError


@contextmanager
def explained() -> Iterator[None]:
    """Translate errors of libraries that a user can fix into ``UserError``.

    Raises:
        UserError: Something that the user can fix.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        mended = in_words(error)
        if mended is None:
            raise
        raise mended from error


def in_words(error: Exception) -> UserError | None:
    """The ``UserError`` for a library's error that a user can fix."""
    cause: BaseException | None = error
    while cause is not None:  # jsonargparse wraps what a constructor raised
        if isinstance(cause, UserError):
            return cause
        cause = cause.__cause__
    text = str(error) or type(error).__name__
    if isinstance(error, MisconfigurationException):
        return ConfigError(f"Lightning refuses an option of the trainer: {text}")
    if (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or "can't allocate memory" in text
        or "ALLOC_FAILED" in text
    ):
        return TrainingError(
            f"The memory is full ({text.splitlines()[0][:200]}). Use a smaller data.batch_size (with "
            "trainer.accumulate_grad_batches for the same steps) or a smaller data.image_size, under another --run_name."
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return TrainingError(
            f"The disk is full: {error}. Finished experiences are kept; free some space and resume with --ckpt_path last."
        )
    refused = re.search(r"Given value: Namespace\(class_path='([\w.]+)'", text)
    if isinstance(error, ValueError) and refused and isinstance(error.__cause__, ValueError | TypeError):
        return ConfigError(f"{refused.group(1)} cannot be built with these options: {error.__cause__}")
    return _explain_runtime_error(text) if isinstance(error, RuntimeError) else None


def _explain_runtime_error(text: str) -> UserError | None:
    """The ``UserError`` for a RuntimeError of Lightning or torch that a user can fix."""
    if "Early stopping conditioned on metric" in text or "ModelCheckpoint(monitor=" in text:
        return ConfigError(
            f"{text.splitlines()[0].split(' Pass in')[0]} The metrics are val/loss and val/accuracy (unless data.val_fraction "
            "is 0), train/loss and train/accuracy."
        )
    if "Connection closed by peer" in text or "Connection reset by peer" in text or "NCCL" in text:
        return TrainingError(
            f"Another process of this run ended, so this one cannot continue ({text.splitlines()[0][:200]}). See its own message for the reason, then resume with --ckpt_path last."
        )
    if "DataLoader worker" in text:
        return DataError(
            f"A process that loads images ended: {text.splitlines()[0]} Use data.num_workers=0 to see the reason."
        )
    if "No space left on device" in text or "file write failed" in text or "unexpected pos" in text:
        return TrainingError(
            f"A checkpoint could not be written: {text.splitlines()[0]} Is the disk full? Free some space and resume with --ckpt_path last."
        )
    return None


def quieten() -> None:
    """Silence messages that Lightning repeats for each Trainer; the run prints the important ones once."""
    for name in (
        "lightning.pytorch.utilities.rank_zero",
        "lightning.pytorch.accelerators.cuda",
        "lightning.fabric.utilities.seed",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*is smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*in eval mode at the start of training.*",
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
        ".*The dirpath has changed from.*",
        ".*was called before the ``update`` method.*",
        ".*It is recommended to use `self.log.*sync_dist=True.*",  # the metrics already cover all processes
        ".*your dataloader is not resumable.*",  # the order is a function of the seed, so the stream continues at the right place
        ".*Encountered `nan` values in tensor.*",  # the classifier checks the loss and stops
        ".*`training_step` returned `None`.*",
        ".*Starting from v1.9.0, `tensorboardX`.*",
        ".*You have overridden `on_after_batch_transfer`.*",
        ".*LightningCLI's args parameter is intended.*",
    ):
        warnings.filterwarnings("ignore", message=message)
