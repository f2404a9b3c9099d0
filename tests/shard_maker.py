"""Writes tar archives in the form of WebDataset."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from dataset_saver import stored

PER_SHARD = 6


def write_tar(file: Path, members: Sequence[tuple[str, bytes]], mode: str = "w") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, mode) as archive:  # type: ignore[call-overload] # the mode is given as text
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file


def members_of(count: int, start: int, form: str = "cls") -> list[tuple[str, bytes]]:
    """Images of two classes in turn with their labels, each of its own content."""
    members = []
    for number in range(start, start + count):
        label = number % 2
        content = str(label) if form == "cls" else json.dumps({"category": ("cat", "ant")[label], "id": number})
        members += [(f"{number:06d}.png", stored(label, number)), (f"{number:06d}.{form}", content.encode())]
    return members


def write_shards(root: Path, shards: Mapping[str, int], start: int = 0, form: str = "cls") -> Path:
    """So many archives of each part, such as train-0000.tar."""
    for part, count in shards.items():
        for shard in range(count):
            write_tar(root / f"{part}-{shard:04d}.tar", members_of(PER_SHARD, start, form))
            start += PER_SHARD
    return root
