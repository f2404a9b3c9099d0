"""What lies on the disk and must survive a kill: atomic writes, locks, cache folders, the growing CSV log."""
