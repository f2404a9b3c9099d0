"""Executors of comparisons: in this process, in several processes, on a SLURM or on a Ray cluster."""
