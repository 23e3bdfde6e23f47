"""Connects to a Ray cluster: the one that ``RAY_ADDRESS`` names, or one of this machine."""

from __future__ import annotations

import os
import re
import socket
from typing import Any

from moue.errors import UsageError, quoted, shortened

#: Where to find the cluster.
ADDRESS = "RAY_ADDRESS"
#: Seconds for a cluster to answer at all. Ray itself tries for minutes.
ANSWER = 10.0


def connect(ray: Any, **local: Any) -> None:
    """Connect to the cluster.

    Args:
        ray: the package.
        local: options of one that is started on this machine where none is named.

    Raises:
        UsageError: when there is no cluster, and none starts.
    """
    address = os.environ.get(ADDRESS)
    try:
        if match := re.fullmatch(r"(?:ray://)?([^/]+):(\d+)", address or ""):
            socket.create_connection((match[1].strip("[]"), int(match[2])), ANSWER).close()
        ray.init(log_to_driver=False, logging_level="ERROR", **({} if address else local))
    except Exception as error:
        # Ray raises whatever its parts do.
        why = shortened(error, 200).rstrip(".")
        if address:
            raise UsageError(
                f"there is no Ray cluster at {quoted(address)}: {why}. Set {ADDRESS} to a running one, or unset it "
                "for one of this machine."
            ) from error
        raise UsageError(f"no Ray cluster starts on this machine: {why}.") from error
