"""StayClose in the kit of lightning_vision."""

from lightning_vision.testing import StrategyConformance


class TestStayClose(StrategyConformance):
    """All that a learning strategy should keep to."""

    strategy = "lightning_vision_stay_close.StayClose"
