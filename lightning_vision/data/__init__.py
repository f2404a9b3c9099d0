"""From a sample table to batches: inspection, splits, scenarios, the stream, loaders, and the base of datamodules."""
