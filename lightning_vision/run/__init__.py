"""The walk over the experiences of a stream, and what is done with a checkpoint afterwards."""
