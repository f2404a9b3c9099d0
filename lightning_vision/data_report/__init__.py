"""A description of the data: counts, sizes, samples, leaks and problems, in the terminal and on a page."""

from lightning_vision.former_names import finder_of

__getattr__ = finder_of(__name__, ("DataReport", "describe", "print_report"))
