"""The command line: options, parsers, the fit command, the commands for checkpoints, and readable errors."""
