"""How far a classifier may be trusted: strangers, calibration, rejection, and images unlike those of training.

Read in this order: what passes through the network (``outputs``), what is kept of it (``scored``), the scores by which
strangers are told (``detectors``, ``separation``), the temperature and the threshold (``calibration``, ``rejection``), what
new images have and training images have not (``shift``), and what puts it together (``command``).
"""
