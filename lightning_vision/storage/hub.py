"""Access to the Hugging Face Hub without its minute of retries where there is no network."""

import os
import socket
from types import TracebackType


class QuickToGiveUp:
    """Check that the hub can be reached before a library asks it: its own retries take most of a minute.

    Args:
        needed: Whether the hub may be asked.
    """

    def __init__(self, needed: bool = True) -> None:
        self.needed = needed

    def __enter__(self) -> None:
        import huggingface_hub.constants as constants  # takes time, and few commands need it

        self.constants, self.before = constants, constants.HF_HUB_OFFLINE
        if not self.needed or constants.HF_HUB_OFFLINE:
            return
        if any(os.environ.get(key) for key in ("HTTPS_PROXY", "https_proxy", "HF_ENDPOINT", "ALL_PROXY", "all_proxy")):
            return  # the way to the hub is the user's own: let the library try it
        try:
            socket.create_connection(("huggingface.co", 443), timeout=5).close()
        except OSError:
            # The cache is still used: files that were downloaded before load without a network.
            constants.HF_HUB_OFFLINE = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.constants.HF_HUB_OFFLINE = self.before
