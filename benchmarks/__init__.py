"""Benchmarks: each is a script that prints a table, ours against a peer or a limit in the same run.

Idle threads of OpenMP wait without spinning, as in every run of ``lightning_vision.cli``: this must be set before torch is
loaded. Otherwise loaders and torch's threads would slow each other down, on both sides of a table.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
