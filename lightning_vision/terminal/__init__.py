"""The terminal: wording, the progress bar, messages of the first rank, and the parser of small subcommands."""
