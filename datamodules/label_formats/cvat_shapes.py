"""The shapes of CVAT's XML files."""

from __future__ import annotations

from xml.etree import ElementTree

SIDES = ("xtl", "ytl", "xbr", "ybr")
OUTLINES = ("box", "polygon", "ellipse", "mask")
"""Kinds of shapes that have a box around them; points, lines and cuboids have none."""


def corners_of(shape: ElementTree.Element) -> list[float]:
    """The box of a shape; nothing if its numbers are none."""
    try:
        if shape.tag == "box":
            return [float(shape.get(side) or "") for side in SIDES]
        if shape.tag == "ellipse":
            x, y, rx, ry = (float(shape.get(side) or "") for side in ("cx", "cy", "rx", "ry"))
            return [x - rx, y - ry, x + rx, y + ry]
        if shape.tag == "mask":
            left, top, width, height = (float(shape.get(side) or "") for side in ("left", "top", "width", "height"))
            return [left, top, left + width, top + height]
        points = [[float(value) for value in point.split(",")] for point in (shape.get("points") or "").split(";")]
        xs, ys = zip(*points, strict=True)
        return [min(xs), min(ys), max(xs), max(ys)]
    except ValueError:
        return []
