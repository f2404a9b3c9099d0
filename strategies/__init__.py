"""The learning strategies, one a file."""

from strategies.full_fine_tune import FullFineTune
from strategies.head_only import HeadOnly
from strategies.move_to_data import MoveToData
from strategies.retrain import Retrain

__all__ = ["FullFineTune", "HeadOnly", "MoveToData", "Retrain"]
