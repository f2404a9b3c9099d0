"""What plugins declare under a name of before 0.2."""

import warnings

import pytest

from lightning_vision.learning.recipe import Recipe
from lightning_vision.learning.strategy import Strategy


@pytest.mark.parametrize("kind", [Strategy, Recipe])
@pytest.mark.parametrize("needed", [True, False])
def test_a_former_name_is_honoured_and_warned_of(kind: type, needed: bool) -> None:
    with pytest.warns(
        DeprecationWarning, match=r"Old declares needs_pictures, which is now called needs_images"
    ) as seen:
        old = type("Old", (kind,), {"needs_pictures": needed})
    assert seen[0].filename == __file__
    assert old.needs_images is needed  # type: ignore[attr-defined]
    with warnings.catch_warnings(action="error"):
        assert type("Heir", (old,), {}).needs_images is needed  # type: ignore[attr-defined]


def test_the_present_name_counts_more() -> None:
    with pytest.warns(DeprecationWarning, match="needs_images"):

        class Both(Strategy):
            needs_pictures = True
            needs_images = False

    assert Both.needs_images is False
