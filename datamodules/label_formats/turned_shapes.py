"""The boxes around rectangles and ellipses that are turned."""

from __future__ import annotations

import math
from collections.abc import Sequence


def around_rectangle(box: Sequence[float], degrees: float, about: tuple[float, float]) -> list[float]:
    """The box around a rectangle that was turned.

    Args:
        box: x1, y1, x2, y2 before it was turned.
        degrees: The angle, clockwise as the image is seen.
        about: The point x, y that stayed.
    """
    if not degrees:
        return list(box)
    x1, y1, x2, y2 = box
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    sides = [(x - about[0], y - about[1]) for x in (x1, x2) for y in (y1, y2)]
    xs, ys = zip(*((about[0] + x * cos - y * sin, about[1] + x * sin + y * cos) for x, y in sides), strict=True)
    return [round(side, 6) for side in (min(xs), min(ys), max(xs), max(ys))]


def around_ellipse(x: float, y: float, radius_x: float, radius_y: float, degrees: float) -> list[float]:
    """The box around an ellipse of this centre and these radii that was turned about its centre, as a rectangle is."""
    if degrees:
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        radius_x, radius_y = (
            round(math.hypot(radius_x * cos, radius_y * sin), 6),
            round(math.hypot(radius_x * sin, radius_y * cos), 6),
        )
    return [x - radius_x, y - radius_y, x + radius_x, y + radius_y]
