"""How batches pass the GPU: two lanes in turn, one working memory, a graph for each shape.

Each lane has its own stream, pinned buffers and GPU buffers, so that one uploads or downloads while the other computes.
They compute one after the other, in one shared working memory. Everything is taken at the start, for the largest batch.
The first batch of a new shape runs plainly, the second is recorded as a CUDA graph, and all later ones are one launch.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...errors import DeviceError, DeviceMemoryError, EngineError
from . import cuda
from .plan import OUTPUT, Plan, failure
from .schedule import Inputs
from .shapes import Fit, fill, fit, largest, rows_at_once

MAX_SHAPES: Final = 16
"""Shapes that a lane keeps ready; the one unused for longest goes first."""

_LANES = 2


@dataclass(slots=True)
class _Runner:
    """The plan at one shape in one lane."""

    context: Any
    calls: int = 0
    graph: Any = None

    def drop(self) -> None:
        """Give back what it holds; its stream must have finished."""
        if self.graph is not None:
            cuda.drop_graph(self.graph)
        self.graph = self.context = None


@dataclass(slots=True)
class _Lane:
    """One of the two ways through the GPU.

    Attributes:
        stream: Where its work goes.
        computed: Happens when its last batch is computed.
        host: Tensor name → pinned bytes.
        device: Tensor name → address on the GPU.
        runners: Shape → what runs it, the one used last at the end.
        rows: Rows of the batch in it, without padded ones.
        padded: The same with them.
    """

    stream: cuda.Stream
    computed: cuda.Event
    host: dict[str, NDArray[np.uint8]]
    device: dict[str, int]
    runners: OrderedDict[Fit, _Runner] = field(default_factory=OrderedDict)
    rows: int = 0
    padded: int = 0

    def drop(self) -> None:
        """Wait for its work, and give back what runs it."""
        with suppress(DeviceError):
            self.stream.finish()
        while self.runners:
            self.runners.popitem()[1].drop()


class GpuExecutor:
    """The lanes, as `embed_in_order` uses them.

    Args:
        plan: The open plan.
        max_rows: Rows of a batch at most.

    Raises:
        DeviceMemoryError: There is too little memory for so many rows.
    """

    slots = _LANES

    def __init__(self, plan: Plan, max_rows: int) -> None:
        self.max_rows, self.notes = max_rows, list[str]()
        self._plan, self._resources, self._graphs = plan, cuda.Resources(), True
        self._profiles = [profile for profile in plan.profiles if profile.least_rows <= max_rows]
        self._arena, self._arena_bytes = 0, 0
        self._lanes: list[_Lane] = []
        try:
            if not self._profiles:
                raise DeviceMemoryError("The GPU's memory is too small for the smallest batch that the plan takes.")
            self._lanes += [self._new_lane() for _ in range(self.slots)]
            self._reserve(max(self._working_memory(largest(p, max_rows)) for p in self._profiles))
            self._warm_up()
        except BaseException:
            self.close()
            raise

    @property
    def device_bytes(self) -> int:
        """Bytes taken on the GPU, without weights."""
        return self._resources.device_bytes

    @property
    def pinned_bytes(self) -> int:
        """Bytes of page-locked memory taken."""
        return self._resources.pinned_bytes

    def rows_at_once(self, inputs: Inputs) -> int:
        """How many rows of a batch `begin` takes."""
        return rows_at_once({name: array.shape for name, array in inputs.items()}, self._profiles, self.max_rows)

    def begin(self, slot: int, inputs: Inputs) -> None:
        """Copy a batch to pinned memory and enqueue its upload, its work and its download."""
        lane = self._lanes[slot]
        fitted = fit({name: array.shape for name, array in inputs.items()}, self._profiles, self.max_rows)
        lane.rows, lane.padded = len(next(iter(inputs.values()))), fitted.rows
        try:
            self._upload(lane, fitted, inputs)
            # The lanes share their working memory.
            lane.stream.wait(self._lanes[1 - slot].computed)
            self._compute(lane, self._runner(lane, fitted))
            lane.stream.mark(lane.computed)
            lane.stream.download(lane.device[OUTPUT], self._result(lane))
        except BaseException:
            with suppress(DeviceError):
                lane.stream.finish()
            raise

    def finish(self, slot: int) -> NDArray[np.float32]:
        """Wait for a lane, and copy its vectors out of pinned memory."""
        lane = self._lanes[slot]
        lane.stream.finish()
        return self._result(lane)[: lane.rows].copy()

    def close(self) -> None:
        """Give everything back, what works before what it works with."""
        while self._lanes:
            self._lanes.pop().drop()
        self._resources.close()

    def _new_lane(self) -> _Lane:
        sizes = self._buffer_sizes()
        resources = self._resources
        return _Lane(
            resources.stream(),
            resources.event(),
            {name: resources.pinned(size) for name, size in sizes.items()},
            {name: resources.device(size) for name, size in sizes.items()},
        )

    def _buffer_sizes(self) -> dict[str, int]:
        """Tensor name → bytes at its largest shape."""
        sizes = {OUTPUT: self.max_rows * self._plan.spec.dimension * np.dtype(np.float32).itemsize}
        for name, (dtype, _) in self._plan.spec.inputs.items():
            shapes = (dict(largest(profile, self.max_rows).shapes)[name] for profile in self._profiles)
            sizes[name] = max(int(np.prod(shape)) for shape in shapes) * np.dtype(dtype).itemsize
        return sizes

    def _warm_up(self) -> None:
        """Run the largest batch in both lanes, so that what does not fit is known now, and graphs are recorded."""
        widest = max((largest(profile, self.max_rows) for profile in self._profiles), key=lambda one: one.rows)
        zeros = {name: np.zeros(shape, self._plan.spec.inputs[name][0]) for name, shape in widest.shapes}
        for slot in list(range(self.slots)) * 2:
            self.begin(slot, zeros)
            self.finish(slot)

    def _upload(self, lane: _Lane, fitted: Fit, inputs: Inputs) -> None:
        for name, shape in fitted.shapes:
            room = cuda.carve(lane.host[name], self._plan.spec.inputs[name][0], shape)
            fill(room, inputs[name])
            lane.stream.upload(room, lane.device[name])

    def _result(self, lane: _Lane) -> NDArray[np.float32]:
        return cuda.carve(lane.host[OUTPUT], np.float32, (lane.padded, self._plan.spec.dimension))

    def _compute(self, lane: _Lane, runner: _Runner) -> None:
        if runner.calls == 1 and self._graphs:
            self._record(lane, runner)
        runner.calls += 1
        if runner.graph is not None:
            lane.stream.launch(runner.graph)
        elif not runner.context.execute_async_v3(int(lane.stream)):
            raise failure(self._plan.messages, "did not run a batch")

    def _record(self, lane: _Lane, runner: _Runner) -> None:
        """Record the shape as a graph; where that is refused, batches are enqueued plainly from then on."""
        context, stream = runner.context, int(lane.stream)
        try:
            if self._plan.kind == "tensorrt_rtx" and not context.is_stream_capturable(stream):
                raise EngineError("TensorRT-RTX can't record this plan.")
            runner.graph = cuda.capture_graph(lane.stream, lambda: bool(context.execute_async_v3(stream)))
        except DeviceError as error:
            self._graphs = False
            self._plan.messages.clear()
            self.notes.append(f"without CUDA graphs: {error}".rstrip("."))

    def _runner(self, lane: _Lane, fitted: Fit) -> _Runner:
        """What runs a shape in a lane, made where it is new."""
        if fitted in lane.runners:
            lane.runners.move_to_end(fitted)
            return lane.runners[fitted]
        if len(lane.runners) == MAX_SHAPES:
            lane.stream.finish()
            lane.runners.popitem(last=False)[1].drop()
        context = self._shaped_context(lane, fitted)
        size = int(context.update_device_memory_size_for_shapes())
        self._reserve(size)
        context.set_device_memory(self._arena, self._arena_bytes)
        lane.runners[fitted] = _Runner(context)
        return lane.runners[fitted]

    def _shaped_context(self, lane: _Lane, fitted: Fit) -> Any:
        context = self._plan.new_context()
        done = [context.set_optimization_profile_async(fitted.profile, int(lane.stream))]
        done += [context.set_input_shape(name, shape) for name, shape in fitted.shapes]
        done += [context.set_tensor_address(name, address) for name, address in lane.device.items()]
        if not all(done):
            raise failure(self._plan.messages, f"did not take the shapes {dict(fitted.shapes)}")
        return context

    def _working_memory(self, fitted: Fit) -> int:
        """Bytes that a shape needs while it is computed."""
        lane = self._lanes[0]
        context = self._shaped_context(lane, fitted)
        lane.stream.finish()
        return int(context.update_device_memory_size_for_shapes())

    def _reserve(self, size: int) -> None:
        """Have at least so much working memory. What contexts hold already stays until the end."""
        if size > self._arena_bytes or not self._arena:
            self._arena, self._arena_bytes = self._resources.device(size), size
