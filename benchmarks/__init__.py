"""Benchmarks: each a script that prints a table, ours against a peer or a limit in the same run.

Idle threads of OpenMP wait without spinning, as ``lightning_vision.cli`` arranges for every run: it must be said before torch
is loaded. Otherwise loaders and torch's threads would hinder each other, on both sides of a table.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
