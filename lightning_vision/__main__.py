"""``python -m lightning_vision``."""

import sys

from lightning_vision.cli import main

sys.exit(main())
