"""Grasping in the Wild as it lies on disk, small: real videos of a few frames, maps, gaze points and box files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

CLASSES = ("Bowl", "Mug")
PARTS = {"train1": 3, "test1": 2, "test2": 5}
"""Sequences of each class."""
ENOUGH = {"train1": 3, "test1": 2, "test2": 15}
"""So many that a fifth of them, as validation data, reaches each of five increments."""
HEIGHT, WIDTH = 48, 64
COLOURS = np.array([(220, 40, 40), (40, 40, 220), (40, 220, 40), (220, 220, 40)])

Frames = npt.NDArray[np.uint8]
"""(N, h, w, 3) RGB."""


def level(frame: int) -> int:
    """Grey of the upper left corner, which tells frames from each other even when they were compressed."""
    return 20 + 20 * frame


def draw(count: int, colour: npt.ArrayLike = (220, 40, 40), seed: int = 0) -> Frames:
    """Frames with a coloured square on blotches, which moves to the right."""
    blotches = np.random.default_rng(seed).integers(60, 190, (HEIGHT // 8, WIDTH // 8, 1), dtype=np.uint8)
    frames = np.stack([blotches.repeat(8, axis=0).repeat(8, axis=1).repeat(3, axis=2)] * max(count, 1))[:count]
    for number in range(count):
        frames[number, :16, :16] = level(number)
        x, y = object_corner(number)
        frames[number, y : y + 16, x : x + 16] = colour
    return frames


def object_corner(frame: int) -> tuple[int, int]:
    """x and y of the square, which is 16 pixels wide and high."""
    return 20 + 2 * frame, 24


def write_video(file: Path, frames: Frames, codec: str = "mpeg4", turned: int = 0) -> Path:
    """Encode a video, 25 frames a second; ``turned``: by how many degrees the camera was."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.bit_rate = 4_000_000
        if turned:
            stream.set_display_rotation(turned)
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return file


def write_map(file: Path, box: Sequence[int] | None, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    """A saliency map that is white in x1, y1, x2, y2, or black; its size is h, w."""
    file.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros(size, dtype=np.uint8)
    if box is not None:
        values[box[1] : box[3], box[0] : box[2]] = 255
    Image.fromarray(values).save(file)


def write_maps(folder: Path, count: int) -> None:
    """Maps of the square; that of frame 0 is black."""
    for number in range(count):
        x, y = object_corner(number)
        box = None if number == 0 else (x, y, x + 16, y + 16)
        write_map(folder / "SaliencyMaps" / f"Saliency_{number:05d}.png", box)


def box_lines(count: int, first: int = 0) -> str:
    """What ``<Seq>_2_bboxes.txt`` holds; the object is absent in the first frame."""
    boxes = [f"{first + number} 1 {x} {y} 16 16" for number in range(1, count) for x, y in [object_corner(number)]]
    return "\n".join([f"{first} 0", *boxes]) + "\n"


def gaze_lines(count: int) -> str:
    """What ``fixation_points.txt`` holds; the object is absent in the first frame."""
    points = [f"{number} 1 {x + 8} {y + 8}" for number in range(1, count) for x, y in [object_corner(number)]]
    return "\n".join(["0 0 0 0", *points]) + "\n"


def write_sequence(folder: Path, count: int = 4, colour: npt.ArrayLike = (220, 40, 40), seed: int = 0) -> Path:
    """A sequence with video, maps and boxes; returns its folder."""
    write_video(folder / f"{folder.name}.mp4", draw(count, colour, seed))
    write_maps(folder, count)
    (folder / f"{folder.name}_2_bboxes.txt").write_text(box_lines(count))
    return folder


def write_gitw(
    root: Path, parts: Mapping[str, int] | None = None, classes: Sequence[str] = CLASSES, count: int = 4
) -> Path:
    """A whole tree, every sequence with video, maps and boxes; returns it."""
    number = 0
    for part, sequences in (PARTS if parts is None else parts).items():
        for label, name in enumerate(classes):
            for _ in range(sequences):
                number += 1
                sequence = f"{name}Place{1 + number % 3}Subject{number}"
                write_sequence(root / part / name / sequence, count, COLOURS[label], number)
    return root
