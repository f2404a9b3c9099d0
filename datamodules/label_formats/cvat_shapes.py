"""The shapes of CVAT's XML files."""

from __future__ import annotations

from xml.etree import ElementTree

from datamodules.label_formats.turned_shapes import around_ellipse, around_rectangle

SIDES = ("xtl", "ytl", "xbr", "ybr")
OUTLINES = ("box", "polygon", "ellipse", "mask")
"""Kinds of shapes that have a box around them; points, lines and cuboids have none."""


def corners_of(shape: ElementTree.Element) -> list[float]:
    """The box around a shape, which may be turned; nothing if its numbers are none."""
    try:
        turned = float(shape.get("rotation") or 0)
        if shape.tag == "box":
            x1, y1, x2, y2 = box = [float(shape.get(side) or "") for side in SIDES]
            return around_rectangle(box, turned, about=((x1 + x2) / 2, (y1 + y2) / 2))
        if shape.tag == "ellipse":
            x, y, rx, ry = (float(shape.get(side) or "") for side in ("cx", "cy", "rx", "ry"))
            return around_ellipse(x, y, rx, ry, turned)
        if shape.tag == "mask":
            left, top, width, height = (float(shape.get(side) or "") for side in ("left", "top", "width", "height"))
            return [left, top, left + width, top + height]
        points = [[float(value) for value in point.split(",")] for point in (shape.get("points") or "").split(";")]
        xs, ys = zip(*points, strict=True)
        return [min(xs), min(ys), max(xs), max(ys)]
    except ValueError:
        return []
