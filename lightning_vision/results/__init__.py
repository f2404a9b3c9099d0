"""What a run found and where it is kept: run directory, results.json, scores, predictions."""

from lightning_vision.former_names import finder_of

__getattr__ = finder_of(__name__, ("Results", "read_results", "write_results"))
