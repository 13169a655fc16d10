"""A TensorRT plan from a tower's graph, by either kind of TensorRT: one Python interface, built of bytes alone.

The network is strongly typed: the graph's own precision is the plan's. Weights beside the graph are handed over in
memory, by name; the parser, which would follow links, opens no file. TensorRT-RTX builds without a GPU too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import ModuleType
from typing import Any, Final

import numpy as np

from haiku_edge.runtime.engine.gpu.plan import open_library
from haiku_edge.runtime.engine.gpu.survey import find_gpus
from haiku_edge.runtime.engine.model import TowerModel
from haiku_edge.runtime.errors import DeviceUnavailableError, EngineBuildError
from haiku_edge.runtime.inference.progress import Progress, Silent

from .builder_log import BuilderLog, Phases, new_logger, new_monitor
from .options import BuildOptions, BuiltPlan, Kind, capability_numbers
from .regimes import Regime
from .weights import outside_weights

TITLES: Final = {"tensorrt_rtx": "TensorRT-RTX", "tensorrt": "TensorRT"}

_POLL = 0.1
"""Seconds between two looks at how far a build is."""

_STEPS = 100


def build_plan(
    model: TowerModel,
    kind: Kind,
    regimes: Sequence[Regime],
    *,
    options: BuildOptions | None = None,
    progress: Progress | None = None,
) -> BuiltPlan:
    """Build a plan. Nothing is written; a build that is stopped leaves nothing.

    Args:
        model: The graph in the precision wanted (`to_half`, or the canonical one).
        kind: tensorrt_rtx or tensorrt.
        regimes: Shapes that the plan takes, one optimisation profile each.
        options: How to build; None takes the defaults.
        progress: Told how far the build is, from 0 to 100. Whatever it raises (a KeyboardInterrupt too) stops the build
            at the builder's next step, and comes out here.

    Raises:
        EngineBuildError: The builder refuses; the message names the operator and the node where it does.
        DeviceUnavailableError: This kind is not installed, or it needs a GPU and there is none.
        BundleContentError: The graph's weights are not those given.
    """
    options, progress = options or BuildOptions(), progress or Silent()
    here = _capability_here(kind, options)
    began, library, log = time.monotonic(), open_library(kind), BuilderLog(TITLES[kind], model)
    builder = library.Builder(new_logger(library, log))
    network = builder.create_network(1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    outside = outside_weights(model)
    parser = _parse(library, network, model, outside, log)
    config = _configure(library, builder, network, regimes, options, log)
    cache = _attach_timing_cache(config, options.timing_cache, log) if kind == "tensorrt" else None
    _choose_capabilities(library, config, options, here)
    content = _run(library, builder, network, config, progress, log)
    # The network points into the parser's memory, and both into the weights.
    del parser, outside
    learnt = b"" if cache is None else bytes(memoryview(cache.serialize()))
    return BuiltPlan(content, time.monotonic() - began, log.weights, log.activations, learnt)


def _capability_here(kind: Kind, options: BuildOptions) -> str:
    """Compute capability of this machine's GPU; empty without one, which must do for what is asked."""
    survey = find_gpus()
    if survey.usable:
        return survey.gpus[0].capability
    if kind == "tensorrt" or options.stripped:
        what = "A plan without weights" if options.stripped else "TensorRT"
        raise DeviceUnavailableError(f"{what} needs a GPU to build on. Use TensorRT-RTX, or build where the GPU is.")
    return ""


def offered_capabilities(library: ModuleType) -> tuple[str, ...]:
    """Compute capabilities that a kind of TensorRT builds for without their GPU, such as "8.9"; none for TensorRT."""
    members = getattr(getattr(library, "ComputeCapability", None), "__members__", {})
    numbers = sorted(int(name[2:]) for name in members if name.startswith("SM"))
    return tuple(f"{number // 10}.{number % 10}" for number in numbers)


def _parse(
    library: ModuleType, network: Any, model: TowerModel, outside: Mapping[str, memoryview], log: BuilderLog
) -> Any:
    """Fill the network from the graph; the parser returned and `outside` must live until the plan is built."""
    parser = library.OnnxParser(network, log.logger)
    loaded = parser.load_model_proto(model.graph) and all(
        parser.load_initializer(name, np.frombuffer(span, np.uint8).ctypes.data, len(span))
        for name, span in outside.items()
    )
    if not (loaded and parser.parse_model_proto()):
        raise log.refusal([parser.get_error(number) for number in range(parser.num_errors)])
    if [network.get_output(number).name for number in range(network.num_outputs)] != ["vector"]:
        raise EngineBuildError(f"The {model.tower} graph has no single output 'vector'. Export the bundle again.")
    return parser


def _configure(
    library: ModuleType, builder: Any, network: Any, regimes: Sequence[Regime], options: BuildOptions, log: BuilderLog
) -> Any:
    config = builder.create_builder_config()
    if not options.tf32:
        config.clear_flag(library.BuilderFlag.TF32)
    if options.stripped:
        # The same weights come back, so nothing is given away for others.
        config.set_flag(library.BuilderFlag.STRIP_PLAN)
        config.set_flag(library.BuilderFlag.REFIT_IDENTICAL)
    if options.workspace is not None:
        config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, options.workspace)
    names = [network.get_input(number).name for number in range(network.num_inputs)]
    for regime in regimes:
        profile = builder.create_optimization_profile()
        for name in names:
            profile.set_shape(name, regime.least[name], regime.usual[name], regime.most[name])
        if config.add_optimization_profile(profile) < 0:
            raise log.refusal([])
    return config


def _attach_timing_cache(config: Any, content: bytes, log: BuilderLog) -> Any:
    """Let the build use and extend what an earlier one learnt, or begin anew; None where there is no such cache."""
    for given in (content, b""):
        cache = config.create_timing_cache(given)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
        log.clear()
    return None


def _choose_capabilities(library: ModuleType, config: Any, options: BuildOptions, here: str) -> None:
    """Say for which GPUs to build. TensorRT knows only the one that is there."""
    offered, wanted = offered_capabilities(library), options.capabilities
    unknown = sorted(set(wanted) - set(offered))
    if unknown:
        raise EngineBuildError(
            f"Plans can't be built for compute capability {', '.join(unknown)} without its GPU. "
            f"Take some of {', '.join(offered) or 'none: build where the GPU is'}."
        )
    if not offered:
        return
    targets = [
        _target(each) for each in wanted or (name for name in offered if capability_numbers(name) >= options.least)
    ]
    if not wanted and here in offered:
        targets = ["CURRENT"]
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        config.set_compute_capability(getattr(library.ComputeCapability, target), index)


def _target(capability: str) -> str:
    return f"SM{capability.replace('.', '')}"


def _run(library: ModuleType, builder: Any, network: Any, config: Any, progress: Progress, log: BuilderLog) -> bytes:
    """Build in a thread of its own: a signal that comes meanwhile meets Python here, not inside the builder."""
    phases = Phases()
    monitor = new_monitor(library, phases)
    config.progress_monitor = monitor
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(builder.build_serialized_network, network, config)
        try:
            _follow(future, phases, progress, log)
        except BaseException:
            phases.stop()
            raise
    plan = future.result()
    if plan is None:
        raise log.refusal([])
    return bytes(memoryview(plan))


def _follow(future: Future[Any], phases: Phases, progress: Progress, log: BuilderLog) -> None:
    """Tell how far the build is until it ends."""
    done = 0
    progress.start(f"Building the {log.tower} engine with {log.title}", _STEPS)
    while not future.done():
        wait([future], _POLL)
        now = max(done, int(phases.share() * _STEPS))
        progress.advance(now - done)
        done = now
    progress.advance(_STEPS - done)
    progress.finish()
