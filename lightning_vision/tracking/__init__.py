"""What is followed while a run goes: loggers, its position in the stream, energy, progress."""
