"""Find out in a child process whether hnswlib works on this processor.

hnswlib is built where it is installed, for that machine's processor. Carried to an older one, its first instruction can
end the process, with no message. So the first call is made by a child, whose end can be read.
"""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys

_TIMEOUT_S = 60

_CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
import numpy
import hnswlib
vectors = numpy.random.default_rng(0).normal(size=(64, 32)).astype("float32")
vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
index = hnswlib.Index(space="ip", dim=32)
index.init_index(64, M=8, ef_construction=64)
index.add_items(vectors, num_threads=1)
index.set_ef(64)
labels, _ = index.knn_query(vectors, k=1, num_threads=1)
sys.exit(0 if (labels[:, 0] == numpy.arange(64)).all() else "a tiny index finds the wrong vectors")
"""


@functools.cache
def probe_hnswlib() -> str | None:
    """Import hnswlib and search a tiny index in a child process.

    Returns:
        None where it works, else what went wrong and what to do. Found out once a process.
    """
    # -I: the child takes nothing from the folder that it starts in; the paths are this process's own.
    command = [sys.executable, "-I", "-c", _CHILD, json.dumps(sys.path)]
    try:
        ended = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"hnswlib could not be tried ({type(error).__name__}); {_ADVICE}"
    return describe_end(ended.returncode, ended.stderr.decode("utf-8", "replace"))


_ADVICE = (
    "install a wheel of hnswlib built with HNSWLIB_NO_NATIVE=1, such as the one that `make wheelhouse` makes. "
    "Until then the atlas is searched exactly."
)


def describe_end(status: int, said: str) -> str | None:
    """What a child's exit status (negative: a signal) and last words mean; None for success."""
    if status == 0:
        return None
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        return f"hnswlib ends the process on this computer ({name}): it was built for another processor; {_ADVICE}"
    last = (said.strip().splitlines() or ["no reason given"])[-1][:300]
    return f"hnswlib does not work here ({last}); {_ADVICE}"
