"""How far a classifier may be trusted: out-of-distribution images, calibration, rejection, and differences from training images.

Read in this order: the network's outputs (``outputs``), what is kept of them (``scored_images``), out-of-distribution
detection (``detectors``, ``separation``, ``out_of_distribution``), the temperature and the threshold (``calibration``,
``rejection``), how new images differ from training images (``shift``), and the command that runs them all (``command``).
"""
