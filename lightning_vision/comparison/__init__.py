"""Many strategies, seeds and settings on one stream: what is run, where, and in which folder it is kept."""
