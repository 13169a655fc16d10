"""Nothing leaves, nothing comes in: what keeps libraries from opening a socket.

ONNX Runtime sends telemetry from native threads (seen with 1.31 on Linux: a look-up and an upload to its maker) unless
told not to before it is loaded. urllib3, which readers of DICOM import for downloads that are never made here, opens a
socket when it is imported, to see whether there is IPv6.
"""

from __future__ import annotations

import errno
import os
import socket
import sys

_LOOK_UPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo")


def disable_telemetry() -> None:
    """Switch ONNX Runtime's telemetry off; must run before it is imported."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def refuse_sockets() -> None:
    """Make every attempt of this process's Python code to open a socket, or to look up a host, fail.

    Can't be undone; the command line calls it first thing. Sockets within the machine (AF_UNIX) stay possible.
    """
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event in _LOOK_UPS or (event == "socket.__new__" and arguments[1] != socket.AF_UNIX):
        raise PermissionError(errno.EPERM, "haiku-edge opens no socket")
