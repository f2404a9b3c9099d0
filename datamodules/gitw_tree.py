"""The folders of Grasping in the Wild: sequences with videos or frames, or crops, and their sample table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from datamodules.dataset_folder import (
    IMAGE_EXTENSIONS,
    entries_of,
    images_in,
    is_folder,
    is_hidden,
    missing_layout,
    sub_folders,
)
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.images.decoding import read_header
from lightning_vision.images.video_frames import VIDEO_SUFFIXES, video_facts
from lightning_vision.storage.file_facts import facts_of_files
from lightning_vision.terminal.wording import listed, natural_key, plural

NINE_CLASSES = (
    "Bowl", "CanOfCocaCola", "Jam", "MilkBottle", "Mug", "OilBottle", "Rice", "Sugar", "VinegarBottle",
)  # fmt: skip
"""The classes used for incremental learning, of 16 in all. Their order is the natural one, in which classes are read."""
SOURCE = "https://www.nakala.fr/data/11280/24923973 (CNRS NAKALA), or from its authors at LaBRI, University of Bordeaux"
PAPER = (
    "I. Gonzalez-Diaz et al., Perceptually-guided deep neural networks for ego-action prediction: Object grasping, "
    "Pattern Recognition 88 (2019)"
)
CROPPED_LAYOUT = "<root>/[<part>/]<Class>/<Seq>_2_bboxes_<frame>_0.png, crops"
MILLISECONDS = 40
"""From one frame to the next: 25 a second."""
SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test", "testing": "test",
}  # fmt: skip
"""Names of the folders that parts lie in, with or without a number at the end, and the split that each is."""

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels from the upper left corner, x2 and y2 excluded."""

_SEQUENCE = re.compile(r"(?P<class_name>.+?)Place(?P<place>\d+)Subject(?P<subject>\d+)")
_CROP = re.compile(r"(?P<sequence>.+?Place\d+Subject\d+|[^_]+)_.*\d")
_FRAME = re.compile(r"Frame_(?P<ms>\d+)\.(?:jpe?g|png)", re.IGNORECASE)


@dataclass(frozen=True)
class GitwSequence:
    """The folder of a recording of one grasp."""

    name: str
    class_name: str
    part: str
    """Name of the folder that it lies in with its class; empty where there are no parts."""
    path: str
    """Of its folder, from the root, as all paths here."""
    files: frozenset[str]
    """Names of what lies in its folder."""
    folders: frozenset[str]
    video: str | None
    frames: Mapping[int, str] = field(default_factory=dict)
    """Image files by the number of the frame, from 0."""

    @property
    def is_one(self) -> bool:
        """Whether its folder holds what sequences hold."""
        told = any(name.endswith(".txt") for name in self.files) or "SaliencyMaps" in self.folders
        return bool(told or self.video or self.frames)

    @property
    def group(self) -> str:
        """What tells it from all others: neighbouring frames are near copies, and never parted."""
        return self.name if _SEQUENCE.fullmatch(self.name) else f"{self.class_name}/{self.name}"


class Row(NamedTuple):
    """A row of the sample table."""

    path: str
    class_name: str
    part: str
    group: str
    frame: int = -1
    box_xyxy: Box | None = None
    saliency: str | None = None


@dataclass(frozen=True)
class Footage:
    """The frames of a sequence: a video or image files."""

    height: int
    width: int
    video: str | None
    count: int
    """Frames of the video."""
    files: Mapping[int, str]
    """Image files by frame, where they are used instead."""

    @property
    def numbers(self) -> Sequence[int]:
        """Of all frames, ascending."""
        return range(self.count) if self.video is not None else sorted(self.files)

    def image(self, frame: int) -> tuple[str, int] | None:
        """Path and number in the video (-1 for an image file) of a frame; None if there is no such."""
        if self.video is not None:
            return (self.video, frame) if 0 <= frame < self.count else None
        return (self.files[frame], -1) if frame in self.files else None


@dataclass(frozen=True)
class GitwTree:
    """The content of a root folder."""

    sequences: list[GitwSequence]
    crops: list[Row]


def read_tree(root: Path, layouts: Sequence[str], classes: Sequence[str] | None, findings: DataProblems) -> GitwTree:
    """List the sequences and crops, in natural order.

    Args:
        root: Holds the class folders, or folders train, test, train1, test2, ... that do.
        layouts: What is expected, for the error.
        classes: The folders to read; None: all.
        findings: Where files that are neither are counted.

    Raises:
        DataError: There is neither a sequence nor a crop.
        ConfigError: There is no such class.
    """
    parts = _parts(root)
    sequences: list[GitwSequence] = []
    crops: list[Row] = []
    found: list[str] = []
    for part in parts or [""]:
        top = root / part
        for class_name in _class_folders(top):
            found.append(class_name)
            if classes is not None and class_name not in classes:
                continue
            folder, path = top / class_name, f"{part}/{class_name}" if part else class_name
            for name in sub_folders(folder):
                sequences.append(_read_sequence(folder / name, f"{path}/{name}", class_name, part, findings))
            if any(entry.name.lower().endswith(IMAGE_EXTENSIONS) for entry in entries_of(folder)):
                names = images_in(folder, path, findings)
                crops += _read_crops(names, path, class_name, part, findings)
    say_chosen_classes(classes, found, findings)
    if not crops and not any(sequence.is_one for sequence in sequences):
        raise missing_layout(root, "Grasping in the Wild", layouts, SOURCE, _is_tree)
    _say_what_is_odd(root, parts, sequences, findings)
    return GitwTree(sequences, crops)


def say_chosen_classes(classes: Sequence[str] | None, found: Sequence[str], findings: DataProblems) -> None:
    """Say which of the classes that were found are left out by choice.

    Raises:
        ConfigError: There is no such class.
    """
    names = sorted(set(found), key=natural_key)
    if classes is None or not names:
        return
    if unknown := [name for name in classes if name not in names]:
        raise ConfigError(f"data.classes: there is no class {listed(unknown)}; the classes are {listed(names)}.")
    if others := [name for name in names if name not in classes]:
        findings.remark(f"data.classes excludes {listed(others)}.")


def read_footage(
    sequences: Sequence[GitwSequence], root: Path, kept: Path, workers: int, findings: DataProblems
) -> dict[str, Footage]:
    """The frames of each sequence, by its path; sequences without any are bad.

    Args:
        sequences: Which.
        root: Where paths start.
        kept: Folder for caches.
        workers: Videos that are looked into at a time.
        findings: Where bad sequences go.
    """
    videos = [sequence.video for sequence in sequences if sequence.video and not sequence.frames]
    of_video = read_videos(videos, root, kept, workers, findings)
    footage: dict[str, Footage] = {}
    for sequence in sequences:
        if sequence.frames:
            size = _first_size([root / path for path in sequence.frames.values()])
            if size is None:
                findings.bad(f"{sequence.path}/Frames", "none of these frames can be decoded")
            else:
                footage[sequence.path] = Footage(*size, None, 0, sequence.frames)
        elif sequence.video in of_video:
            footage[sequence.path] = of_video[sequence.video]
        elif sequence.video is None:
            findings.bad(sequence.path, "the sequence has neither a video nor a folder Frames")
    return footage


def read_videos(
    videos: Sequence[str], root: Path, kept: Path, workers: int, findings: DataProblems
) -> dict[str, Footage]:
    """The frames of each video, by its path; those that cannot be read are bad. The rest is as for ``read_footage``."""
    if not videos:
        return {}

    files = {video: root / video for video in videos}
    found, reasons = facts_of_files(files, _look_into, kept, "videos", "reading the videos", workers)
    for path, reason in reasons.items():
        findings.bad(path, reason)
    return {path: Footage(height, width, path, count, {}) for path, (count, height, width) in found.items()}


def _look_into(video: Path) -> tuple[int, int, int]:
    """Number, height and width of a video's frames."""
    facts = video_facts(video)
    return facts.frames, facts.height, facts.width


def counts_from_one(file: str, numbers: Sequence[int], footage: Footage, findings: DataProblems) -> bool:
    """Whether the frames that an annotation names are all one too high, which is a problem.

    Args:
        file: What names them.
        numbers: The frames, in any order.
        footage: Those that there are.
        findings: Where the problem goes.
    """
    last = max(footage.numbers)
    if not numbers or min(numbers) != 1 or max(numbers) != last + 1:
        return False
    findings.problem(
        f"{file} counts frames from 1 (its last frame is {last + 1}, the last existing frame is {last}); frames count "
        "from 0"
    )
    return True


def no_such_frame(frame: int, footage: Footage) -> str:
    """Why a frame that an annotation names cannot be used."""
    if footage.video is None:
        return f"frame not found (Frame_{frame * MILLISECONDS}.jpg)"
    return f"frame not found ({frame}; the video has {plural(footage.count, 'frame')}, counted from 0)"


def number_lines(file: Path, name: str, findings: DataProblems) -> list[tuple[str, list[str]]]:
    """The lines of a text file that are not blank: where each stands, for messages, and its fields."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        findings.problem(f"{name} cannot be read: {error}")
        return []
    lines = ((f"{name} line {number}", line.split()) for number, line in enumerate(text.splitlines(), start=1))
    return [(place, fields) for place, fields in lines if fields]


def make_table(rows: Sequence[Row], tree: GitwTree, findings: DataProblems) -> tuple[pd.DataFrame, list[str]]:
    """The sample table, and the class names in natural order; columns that no row fills are left out."""
    table = pd.DataFrame(rows, columns=list(Row._fields))
    class_names = sorted(table["class_name"].unique(), key=natural_key)
    folders = {sequence.class_name for sequence in tree.sequences} | {row.class_name for row in tree.crops}
    if empty := sorted(folders - set(class_names), key=natural_key):
        findings.remark(f"No class for {listed(empty)}, because it has no usable image.")
    samples = pd.DataFrame(
        {
            "path": table["path"].astype("str"),
            "label": table["class_name"].map({name: label for label, name in enumerate(class_names)}).astype("int64"),
            "split": table["part"].map({part: split_of(part) for part in table["part"].unique()}).astype("str"),
        }
    )
    if table["frame"].ge(0).any():
        samples["frame"] = table["frame"].astype("int64")
    for column in ("box_xyxy", "saliency"):
        if table[column].notna().any():
            samples[column] = table[column].astype("object").where(table[column].notna(), None)
    samples["group"] = table["group"].astype("str")
    matches = {group: _SEQUENCE.fullmatch(group) for group in table["group"].unique()}
    if any(matches.values()):
        for column, word in (("domain", "Place"), ("subject", "Subject")):
            names = {group: match and f"{word}{match[word.lower()]}" for group, match in matches.items()}
            samples[column] = table["group"].map(names).astype("object")
    samples["sequence"] = samples["group"]
    if table["part"].ne("").any():
        samples["part"] = table["part"].astype("str")
    return samples, class_names


def split_of(part: str) -> str:
    """The split that a part is by its name: ``train1`` is training data; empty where there are no parts."""
    return SPLITS.get(part.lower().rstrip("0123456789"), "")


def _first_size(images: Sequence[Path]) -> tuple[int, int] | None:
    """Height and width of the first image that can be read; what is wrong with others is found where they are used."""
    for image in images:
        try:
            return read_header(image).size
        except DataError:
            continue
    return None


def _parts(root: Path) -> list[str]:
    return [name for name in sub_folders(root) if split_of(name)]


def _class_folders(top: Path) -> list[str]:
    """What holds sequences; no parallel tree of boxes, and not what a sequence holds."""
    return [
        name for name in sub_folders(top) if not name.endswith("_bboxes") and name not in ("SaliencyMaps", "Frames")
    ]


def _read_sequence(folder: Path, path: str, class_name: str, part: str, findings: DataProblems) -> GitwSequence:
    kinds = {entry.name: is_folder(entry) for entry in entries_of(folder) if not is_hidden(entry.name)}
    folders = frozenset(name for name, holds_files in kinds.items() if holds_files)
    files = frozenset(kinds) - folders
    videos = sorted(name for name in files if Path(name).suffix.lower() in VIDEO_SUFFIXES)
    own = [name for name in videos if Path(name).stem == folder.name] or videos
    if len(own) > 1:
        findings.problem(f"{path} has {plural(len(own), 'video')}, {listed(own)}: but one is expected")
    frames: dict[int, str] = {}
    if "Frames" in folders:
        odd = []
        for name in images_in(folder / "Frames", f"{path}/Frames", findings):
            match = _FRAME.fullmatch(name)
            if match and int(match["ms"]) % MILLISECONDS == 0:
                frames[int(match["ms"]) // MILLISECONDS] = f"{path}/Frames/{name}"
            else:
                odd.append(name)
        if odd:
            findings.problem(
                f"{path}/Frames: expected Frame_<ms>.jpg with a multiple of {MILLISECONDS} ms, found {listed(odd, 3)}"
            )
    video = f"{path}/{own[0]}" if own else None
    return GitwSequence(folder.name, class_name, part, path, files, folders, video, dict(sorted(frames.items())))


def _read_crops(names: Sequence[str], path: str, class_name: str, part: str, findings: DataProblems) -> Iterator[Row]:
    for name in names:
        match = _CROP.fullmatch(Path(name).stem)
        if match is None:
            findings.bad(f"{path}/{name}", "its name contains no sequence: expected <Seq>_2_bboxes_<frame>_0.png")
        else:
            yield Row(f"{path}/{name}", class_name, part, match["sequence"])


def _is_tree(folder: Path) -> bool:
    """Whether this would have been a root, as far as the first class folders tell."""
    for top in [folder / part for part in _parts(folder)] or [folder]:
        for class_folder in (top / name for name in _class_folders(top)[:3]):
            entries = entries_of(class_folder)[:50]
            if any(_SEQUENCE.fullmatch(entry.name) and is_folder(entry) for entry in entries):
                return True
            # Other crops would do in a root; here they could be any images with a number.
            names = [entry.name for entry in entries if _SEQUENCE.match(entry.name)]
            if any(_CROP.fullmatch(Path(name).stem) and name.lower().endswith(IMAGE_EXTENSIONS) for name in names):
                return True
    return False


def _say_what_is_odd(
    root: Path, parts: Sequence[str], sequences: Sequence[GitwSequence], findings: DataProblems
) -> None:
    if parts:
        others = [name for name in _class_folders(root) if name not in parts]
        if others:
            findings.remark(f"Skipped {listed(others, 5)}, which are beside the folders {listed(parts)}.")
    elif split_of(root.resolve().name):
        beside = [name for name in _parts(root.resolve().parent) if name != root.resolve().name]
        if beside:
            findings.remark(
                f"{root} is beside {listed(beside)}, which is not used. To use it, set data.root to "
                f"{root.resolve().parent}."
            )
    classes = {sequence.class_name for sequence in sequences}
    for sequence in sequences:
        match = _SEQUENCE.fullmatch(sequence.name)
        if match and match["class_name"] != sequence.class_name and match["class_name"] in classes:
            findings.problem(
                f"{sequence.path} is a sequence of {match['class_name']} according to its name, but in the folder of "
                f"{sequence.class_name}"
            )
    parts_of: dict[str, list[str]] = {}
    for sequence in sequences:
        parts_of.setdefault(sequence.group, []).append(sequence.part)
    if repeated := [name for name, places in parts_of.items() if len(places) > 1]:
        findings.remark(f"{plural(len(repeated), 'sequence')} in more than one part: {listed(repeated, 5)}.")
