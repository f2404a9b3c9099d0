"""What the tests of recipes share."""

from collections.abc import Iterator

import pytest

from lightning_vision.stream_run import StreamRun


@pytest.fixture(autouse=True, scope="module")
def without_pictures() -> Iterator[None]:
    """A run's pictures take as long to draw as the tiny run itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StreamRun, "draw_pictures", lambda run: None)
        yield
