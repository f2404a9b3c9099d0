"""The Python API: the tasks of the command line as functions and objects."""
