"""What an engine is: a tower compiled for one device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """The device that an engine runs on.

    Attributes:
        requested: What the user asked for: auto, tensorrt, cuda or cpu.
        kind: What runs: tensorrt, cuda or cpu.
        provider: Run time and version.
        name: The processor's own name.
        threads: Threads that the engine computes with.
        reason: Why this device was chosen.
        precision: What it computes in: fp32, fp16, bf16, or int8 with its recipe.
    """

    requested: str
    kind: str
    provider: str
    name: str
    threads: int
    reason: str
    precision: str = "fp32"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """The inputs and the output of a tower.

    Attributes:
        inputs: Name → (dtype, shape), None for a dynamic dimension.
        dimension: Length of the output vector.
    """

    inputs: dict[str, tuple[str, tuple[int | None, ...]]]
    dimension: int


class Engine(Protocol):
    """A tower compiled for one device."""

    @property
    def spec(self) -> TensorSpec:
        """Inputs and output."""
        ...

    @property
    def device(self) -> DeviceInfo:
        """Where it runs, and why there."""
        ...

    def __call__(self, **inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Embed a batch.

        Returns:
            (n, dimension) float32, L2-normalised.
        """
        ...

    def embed_batches(self, batches: Iterable[Mapping[str, NDArray[Any]]]) -> Iterator[NDArray[np.float32]]:
        """Embed one batch after the other, in order; a GPU copies the next while it computes.

        A batch's arrays may be used again as soon as the next batch is asked for.
        """
        ...


def check_inputs(spec: TensorSpec, inputs: Mapping[str, NDArray[Any]]) -> None:
    """Refuse inputs that do not fit a tower.

    Raises:
        EngineError: One is missing, unknown, of another type or shape, or they differ in rows.
    """
    if inputs.keys() != spec.inputs.keys():
        raise EngineError(f"The tower takes {sorted(spec.inputs)}, but was given {sorted(inputs)}.")
    for name, (dtype, shape) in spec.inputs.items():
        given = inputs[name]
        fits = given.ndim == len(shape) and all(a in (None, b) for a, b in zip(shape, given.shape, strict=True))
        if given.dtype != dtype or not fits:
            raise EngineError(f"Input {name} must be {dtype} {shape}, not {given.dtype} {given.shape}.")
    if len({len(given) for given in inputs.values()}) != 1:
        raise EngineError("The inputs of one batch must have the same number of rows.")
