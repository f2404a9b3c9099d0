"""What all tests share."""

import os

# Tiny networks: torch's threads would spend the time waiting for each other, and for those of other ranks. It is set
# before torch is loaded, and for every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")
