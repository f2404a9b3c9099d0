"""Where the runs of a comparison are run: in this process, in several, on a SLURM or on a Ray cluster."""
