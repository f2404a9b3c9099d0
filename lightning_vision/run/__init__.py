"""Runs a stream of experiences, and the tasks of a checkpoint afterwards."""
