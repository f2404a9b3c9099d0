"""The lists of images of CORe50's official runs: training batches in order, and the test set."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from datamodules.dataset_folder import contents, entries_of
from datamodules.documents import read_text
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import few, listed, plural

BATCH = re.compile(r"train_batch_(\d+)_filelist\.txt")
TEST = "test_filelist.txt"
TEST_BATCH = -1
FIRST_SHOWN = 5


def read_filelists(folder: Path, samples: pd.DataFrame, prefix: str, problems: DataProblems) -> pd.DataFrame:
    """The listed images with their split and the column ``batch``.

    The labels in the lists are not used: those of NC runs are numbered in the order of the run.

    Args:
        folder: Of one run: ``train_batch_00_filelist.txt`` and so on, and ``test_filelist.txt``.
        samples: All images, by ``path``.
        prefix: What stands before the names of the lists in these paths.
        problems: Where problems go.

    Raises:
        DataError: A list is missing.
    """
    lists = _lists(folder)
    place_of = {path: place for place, path in enumerate(samples["path"])}
    batch_of: dict[int, int] = {}
    for file, batch in lists.items():
        names = [line.split()[0] for line in read_text(folder / file).split("\n") if line.strip()]
        lost = [name for name in names if prefix + name not in place_of]
        if lost:
            problems.problem(
                f"{file}: {len(lost)} of {plural(len(names), 'image')} not found below {prefix or 'the root'}: "
                f"{listed(lost, FIRST_SHOWN)}"
            )
        places = [place_of[prefix + name] for name in names if prefix + name in place_of]
        again = [places[at] for at in range(len(places)) if places[at] in batch_of]
        if again:
            shown = listed((samples["path"].iloc[place] for place in again), FIRST_SHOWN)
            problems.problem(
                f"{file}: {plural(len(again), 'image')} of an earlier list: {shown}. Use the lists of a folder that ends in "
                "_inc; those of _cum repeat all earlier batches"
            )
        batch_of |= dict.fromkeys(places, batch)
    unlisted = len(samples) - len(batch_of)
    if unlisted:
        problems.remark(f"{folder}: {plural(unlisted, 'image')} in none of its lists, not used.")
    kept = sorted(batch_of)
    batches = [batch_of[place] for place in kept]
    chosen = samples.iloc[kept].reset_index(drop=True)
    split = pd.Series(["test" if batch == TEST_BATCH else "train" for batch in batches], dtype="str")
    return chosen.assign(batch=pd.Series(batches, dtype="int64"), split=split)


def _lists(folder: Path) -> dict[str, int]:
    """The number of the batch of each list, in order; the test set last."""
    numbers = {entry.name: int(found[1]) for entry in entries_of(folder) if (found := BATCH.fullmatch(entry.name))}
    if not numbers:
        raise DataError(
            f"data.filelists: no list of a training batch in {folder}, which {contents(folder)}. Expected "
            "train_batch_00_filelist.txt and so on: the folder of one run, such as NI_inc/run0."
        )
    missing = sorted(set(range(max(numbers.values()) + 1)) - set(numbers.values()))
    names = [f"train_batch_{number:02d}_filelist.txt" for number in missing]
    if not (folder / TEST).is_file():
        names.append(TEST)
    if names:
        raise DataError(
            f"data.filelists: {folder} lacks {few(names)}: a run has all batches in order and {TEST}. Unpack "
            "batches_filelists.zip again."
        )
    return dict(sorted(numbers.items(), key=lambda item: item[1])) | {TEST: TEST_BATCH}
