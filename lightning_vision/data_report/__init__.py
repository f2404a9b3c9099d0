"""What the data is like: counts, sizes, samples, leaks and what is odd, in the terminal and on a page."""

from lightning_vision.former_names import finder_of

__getattr__ = finder_of(__name__, ("DataReport", "describe", "print_report"))
