"""What TensorRT's builder says while it works: how far it is, what memory it wants, and why it refuses."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final

from haiku_edge.runtime.engine.model import TowerModel
from haiku_edge.runtime.errors import EngineBuildError

from .weights import read_graph

_KEPT_MESSAGES = 8
_LONGEST_MESSAGE = 300
_ERRORS = ("INTERNAL_ERROR", "ERROR")
_NO_DRIVER = "(cudaError 35:"
"""What TensorRT-RTX says besides whatever else is wrong, on a machine without a GPU."""

_NOISE: Final = re.compile(r" In \w+ at /\S+?(?=\)|;|$)|\[checkMacros\.cpp::catchCudaError.*")
_MEMORY: Final = re.compile(r"^Total (Weights|Activation) Memory: (\d+) bytes")


class BuilderLog:
    """Keeps the last errors, and the memory that the engine will take.

    Args:
        title: How messages call the builder.
        model: What is built.

    Attributes:
        title: The builder.
        tower: The tower.
        logger: The library's logger that writes here.
        weights: Bytes of weights, once the builder has said so.
        activations: Bytes of working memory at the largest shapes, likewise.
    """

    def __init__(self, title: str, model: TowerModel) -> None:
        self.title, self.tower, self._model = title, model.tower, model
        self.logger: Any = None
        self.weights = self.activations = 0
        self._errors: deque[str] = deque(maxlen=_KEPT_MESSAGES)

    def take(self, severity: str, message: str) -> None:
        """Keep what matters of one message."""
        if severity in _ERRORS and _NO_DRIVER not in message:
            self._errors.append(_tidy(message))
        elif found := _MEMORY.match(message):
            setattr(self, {"Weights": "weights", "Activation": "activations"}[found[1]], int(found[2]))

    def clear(self) -> None:
        """Forget errors that were got over."""
        self._errors.clear()

    def refusal(self, errors: Sequence[Any]) -> EngineBuildError:
        """The error for a graph that the builder refuses.

        Args:
            errors: The parser's errors, if it was the parser; else the last messages say why.
        """
        named = next(((e.node_operator(), e.node_name()) for e in errors if e.node_operator()), None)
        said = [*(_tidy(e.desc()) for e in errors), *self._errors]
        operator, name = named or self._find_node(" ".join(said))
        where = f": operator {operator} at node {name!r}" if operator else ""
        why = said[0] if errors else "; ".join(said)
        return EngineBuildError(
            f"{self.title} does not take the {self.tower} tower{where} ({why or 'it gave no reason'}). "
            "Nothing was built. Use --device cuda or --device cpu, or export the bundle again."
        )

    def _find_node(self, text: str) -> tuple[str, str]:
        """Operator and name of the node that a message names, the longest of several; empty where it names none."""
        nodes = {node.name: str(node.op_type) for node in read_graph(self._model).graph.node if node.name}
        found = [name for name in nodes if re.search(rf"(?<![\w./]){re.escape(name)}(?![\w/])", text)]
        longest = max(found, key=len, default="")
        return nodes.get(longest, ""), longest


def _tidy(message: str) -> str:
    """One line, without places in the builder's own source."""
    return _NOISE.sub("", " ".join(message.split())).strip()[:_LONGEST_MESSAGE]


class Phases:
    """How far nested phases are, as a share of the outermost; may be told from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[tuple[str, int]] = []
        self._done: list[int] = []
        self._stopped = False

    def start(self, name: str, steps: int) -> None:
        """A phase begins within the innermost open one."""
        with self._lock:
            self._open.append((name, max(steps, 1)))
            self._done.append(0)

    def step(self, name: str, step: int) -> bool:
        """A step of a phase is done. False asks the builder to stop."""
        with self._lock:
            for index, (open_name, _) in reversed(list(enumerate(self._open))):
                if open_name == name:
                    self._done[index] = step + 1
                    break
            return not self._stopped

    def finish(self, name: str) -> None:
        """A phase ends, and with it those within it."""
        with self._lock:
            names = [open_name for open_name, _ in self._open]
            if name in names:
                index = len(names) - 1 - names[::-1].index(name)
                del self._open[index:], self._done[index:]

    def stop(self) -> None:
        """Ask the builder to stop at its next step."""
        with self._lock:
            self._stopped = True

    def share(self) -> float:
        """From 0 to 1."""
        with self._lock:
            share = 0.0
            for (_, steps), done in zip(reversed(self._open), reversed(self._done), strict=True):
                share = min((done + share) / steps, 1.0)
            return share


def new_logger(library: ModuleType, log: BuilderLog) -> Any:
    """TensorRT's logger that writes into `log`."""

    class Logger(library.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            log.take(severity.name, message)

    log.logger = Logger()
    return log.logger


def new_monitor(library: ModuleType, phases: Phases) -> Any:
    """TensorRT's monitor that tells `phases`."""

    class Monitor(library.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return phases.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()
