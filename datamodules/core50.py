"""CORe50: household objects filmed in several sessions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from datamodules.core50_filelists import read_filelists
from datamodules.dataset_folder import images_in, missing_layout, sub_folders
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import listed

IMAGE_FOLDERS = ("core50_128x128", "core50_32x32", "core50_350x350")
SESSION, OBJECT = re.compile(r"s([1-9]|1[01])"), re.compile(r"o([1-9]|[1-4]\d|50)")
NAME = re.compile(r"C_(\d{2})_(\d{2})_(\d+)\.(?:png|jpg)", re.IGNORECASE)
"""Session, object and frame of a colour image."""
DEPTH = re.compile(r"D_\d{2}_\d{2}_\d+\.png", re.IGNORECASE)


class CORe50(StreamDataModule):
    """CORe50: 50 objects of 10 categories, 5 of each, filmed in 11 sessions of some 300 frames an object.

    Source: V. Lomonaco and D. Maltoni, "CORe50: a New Dataset and Benchmark for Continuous Object Recognition", CoRL 2017,
    https://vlomonaco.github.io/core50; CC BY 4.0. 164,866 images of 128x128 pixels in ``s<session>/o<object>/``. The official
    test set are sessions 3, 7 and 10. Classes are in the official order, from ``plug_adapter1`` to ``remote_control5``.

    The columns ``session`` and ``object`` are numbers. The frames of a session and object are near copies and one
    ``group``, so a validation set takes whole sequences; the published protocols have none (``val_fraction: 0``). The files
    ``paths.pkl``, ``labels.pkl`` and ``LUP.pkl`` are not read: the names of the images say the same.

    Args:
        root: The folder with core50_128x128, or that folder itself.
        level: The classes: object (50) or category (10).
        filelists: The folder of an official run, relative to root, such as batches_filelists/NI_inc/run0: its images alone
            are used, and the column ``batch`` is the number of the training batch (-1: test).
        image_size: Side of the square images, in pixels.
        options: See ``StreamDataModule``.
    """

    CATEGORIES = (
        "plug_adapter", "mobile_phone", "scissor", "light_bulb", "can", "glass", "ball", "marker", "cup", "remote_control",
    )  # fmt: skip
    OBJECTS_PER_CATEGORY = 5
    TEST_SESSIONS = (3, 7, 10)
    SOURCE = "https://vlomonaco.github.io/core50"
    LAYOUTS = (
        "core50_128x128/s1/o1/C_01_01_000.png: sessions s1 to s11, objects o1 to o50",
        "s1/o1/C_01_01_000.png",
    )

    def __init__(
        self,
        root: str | Path,
        level: Literal["object", "category"] = "object",
        filelists: str | Path | None = None,
        image_size: int = 128,
        **options: Any,
    ) -> None:
        self.level, self.filelists = level, filelists
        super().__init__(root, image_size=image_size, **options)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """One row an image, by session, object and frame."""
        top = self._image_folder()
        rows = self._read_images(top)
        if not rows:
            raise DataError(f"data.root: no image of CORe50 in {self.root / top}. Expected {self.LAYOUTS[0]}.")
        samples = pd.DataFrame(rows, columns=["path", "session", "object"])
        samples["split"] = samples["session"].isin(self.TEST_SESSIONS).map({True: "test", False: "train"}).astype("str")
        if self.filelists is not None:
            folder = self._filelists_folder()
            samples = read_filelists(folder, samples, f"{top}/" if top else "", self.findings)
        elif not set(self.TEST_SESSIONS) & set(samples["session"]):
            self.findings.remark(
                f"{self.root}: none of the official test sessions {', '.join(map(str, self.TEST_SESSIONS))} is there; a test "
                "set is split off."
            )
            samples["split"] = ""
        samples["group"] = [f"s{row.session}/o{row.object}" for row in samples.itertuples()]
        number = samples["object"] - 1
        if self.level == "category":
            number = number // self.OBJECTS_PER_CATEGORY
        names = self._names()
        present = sorted(number.unique())
        samples["label"] = number.map({label: place for place, label in enumerate(present)}).astype("int64")
        if len(present) < len(names):
            self.findings.remark(f"{self.root}: {len(present)} of {len(names)} classes of CORe50 have images.")
        return samples[["path", "label", "split", *samples.columns.difference(["path", "label", "split"])]], [
            names[label] for label in present
        ]

    def _names(self) -> list[str]:
        """The official names of the classes, in the official order."""
        if self.level == "category":
            return list(self.CATEGORIES)
        return [f"{name}{number + 1}" for name in self.CATEGORIES for number in range(self.OBJECTS_PER_CATEGORY)]

    def _image_folder(self) -> str:
        """The folder of the sessions, by its path from the root; empty if the root is it."""
        found = [name for name in IMAGE_FOLDERS if (self.root / name).is_dir()]
        if len(found) > 1:
            raise DataError(
                f"data.root: {self.root} holds CORe50 in several sizes, {listed(found)}. Choose one: data.root="
                f"{self.root / found[0]}."
            )
        if found:
            return found[0]
        if not _is_image_folder(self.root):
            raise missing_layout(self.root, "CORe50", self.LAYOUTS, self.SOURCE, _is_root)
        return ""

    def _read_images(self, top: str) -> list[tuple[str, int, int]]:
        """Path, session and object of each image; folders and names that do not fit are problems."""
        place, found = self.root / top, []
        for session in sub_folders(place):
            if not (in_session := SESSION.fullmatch(session)):
                if session[:1] == "s" and session[1:].isdecimal():
                    self.findings.problem(f"{place / session}: CORe50 has the sessions s1 to s11")
                continue
            for thing in sub_folders(place / session):
                prefix = "/".join(part for part in (top, session, thing) if part)
                if not (of_object := OBJECT.fullmatch(thing)):
                    self.findings.problem(f"{prefix}: CORe50 has the objects o1 to o50")
                    continue
                numbers = int(in_session[1]), int(of_object[1])
                for name in images_in(place / session / thing, prefix, self.findings):
                    if self._belongs(name, prefix, numbers):
                        found.append((f"{prefix}/{name}", *numbers))
        return found

    def _belongs(self, name: str, prefix: str, numbers: tuple[int, int]) -> bool:
        """Whether an image is one of its folder, by its name."""
        if DEPTH.fullmatch(name):
            self.findings.skip(f"{prefix}/{name}", "depth images")
            return False
        said = NAME.fullmatch(name)
        if said is not None and (int(said[1]), int(said[2])) == numbers:
            return True
        expected = f"C_{numbers[0]:02d}_{numbers[1]:02d}_<frame>.png"
        self.findings.bad(f"{prefix}/{name}", f"is no image of this session and object, whose names are {expected}")
        return False

    def _filelists_folder(self) -> Path:
        places = [self.root / str(self.filelists), self.root.parent / str(self.filelists), Path(str(self.filelists))]
        folder = next((place for place in places if place.is_dir()), None)
        if folder is None:
            raise DataError(
                f"data.filelists: there is no folder; searched {listed(places)}. Expected the folder of a run in "
                f"batches_filelists/ (from {self.SOURCE}), such as batches_filelists/NI_inc/run0."
            )
        return folder


def _is_image_folder(place: Path) -> bool:
    return any(
        SESSION.fullmatch(name) and OBJECT.fullmatch(below)
        for name in sub_folders(place)
        for below in sub_folders(place / name)
    )


def _is_root(place: Path) -> bool:
    return any((place / name).is_dir() for name in IMAGE_FOLDERS) or _is_image_folder(place)
