"""Files that must survive a kill: atomic writes, locks, cache folders, the CSV log."""
