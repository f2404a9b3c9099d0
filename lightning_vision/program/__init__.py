"""The command line: options, parsers, the fit command, what is done with a checkpoint, and errors in words."""
