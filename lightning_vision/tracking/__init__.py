"""Loggers, the position in the stream, energy and progress of a run."""
