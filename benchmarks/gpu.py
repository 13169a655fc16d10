"""Every GPU engine on every full-size tower, in ten minutes and one table: built, gated, timed, beside PyTorch.

Only the code has to travel: the towers are the published sizes with seeded weights, made on the spot. So speed is real,
and cosines show rounding, not what it does to a trained model. Each row is a process of its own, which may crash, run
out of memory or of time without harm to the others; what can't run here is a row that says why.

    python benchmarks/gpu.py [--minutes 10] [--towers musk-l-16 …] [--engines tensorrt_rtx …] [--out table.json]

Items are counted from arrays in memory to vectors in memory, copies to and from the GPU included. `of peak` is the best
rate's arithmetic over the fastest large matrix product that PyTorch did on this GPU in the same precision.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
from rich.console import Console
from rich.table import Table

from haiku_edge.export.engines.plans import eight_bits
from haiku_edge.runtime.engine.fingerprint import is_quantised
from haiku_edge.runtime.engine.gpu.survey import GpuSurvey, find_gpus, serves
from haiku_edge.runtime.inference.gate import LEAST_COSINE

BATCHES = (1, 4, 16, 64)
COMPILED_BATCHES = (1, 64)
"""torch.compile compiles anew for each batch, half a minute for the large towers."""

CASES = 8
SEED = 11
SECONDS = 0.6
"""Time given to each batch size, after a warm-up."""

ROW_SECONDS = 150.0
"""Longest time for one row, its building and compiling included."""

MATMUL_SIDE = 8192
MARKERS = 124
NO_DRIVER = "no NVIDIA driver"

Inputs = dict[str, np.ndarray]
Call = Callable[..., np.ndarray]
Facts = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A tower at one size of input."""

    name: str
    tower: str
    size: int
    side: int = 0
    patch: int = 0


CASES_OF = (
    Case("musk-l-16 384 px", "musk-l-16", 0, 384, 16),
    Case("vit-l-14 224 px", "vit-l-14", 0, 224, 14),
    Case("virtues 8 channels", "virtues", 8),
    Case("virtues 20 channels", "virtues", 20),
    Case("virtues 54 channels", "virtues", 54),
    Case("biomedbert 32 tokens", "biomedbert", 32),
    Case("biomedbert 128 tokens", "biomedbert", 128),
    Case("biomedbert 200 tokens", "biomedbert", 200),
)
TOWERS = tuple(dict.fromkeys(case.tower for case in CASES_OF))

ENGINES = (
    ("tensorrt_rtx", "fp16"),
    ("tensorrt", "fp16"),
    ("torch.compile", "bf16"),
    ("torch", "bf16"),
    ("tensorrt_rtx", "bf16"),
    ("tensorrt", "bf16"),
    ("onnxruntime-cuda", "fp16"),
    ("onnxruntime-cuda", "fp32"),
    ("torch", "fp32"),
    ("tensorrt_rtx", "fp32"),
    ("tensorrt", "fp32"),
    ("tensorrt_rtx", "fp16-stripped"),
    ("tensorrt", "fp16-stripped"),
    ("tensorrt_rtx", "fp8-static"),
    ("tensorrt", "fp8-static"),
    ("tensorrt_rtx", "int8-static"),
    ("tensorrt", "int8-static"),
)
"""What runs, what is asked first comes first, in case that the time does not suffice."""


# --- preparing: one tower's graph, inputs and fp32 vectors ------------------------------------------------------------


def make_tower(name: str) -> Any:
    """A tower of published size with seeded weights, as it infers."""
    import torch

    from haiku_edge.export.model import HeConfig, HeTower, MifTower, TextTower, prepare_tower, published_config

    torch.manual_seed(SEED)
    config = published_config(MARKERS)
    if name == "virtues":
        return prepare_tower(MifTower(config.mif, config.dimension).eval())
    if name == "biomedbert":
        assert config.text is not None
        return prepare_tower(TextTower(config.text, config.dimension).eval())
    case = next(case for case in CASES_OF if case.tower == name)
    sizes = HeConfig(256, case.side, (), case.patch, width=1024, hidden=4096, heads=16, layers=24)
    return prepare_tower(HeTower(sizes, config.dimension).eval())


def make_inputs(case: Case, rows: int) -> Inputs:
    """Simulated tissue for images, random words for texts; seeded."""
    random = np.random.default_rng(SEED)
    if case.tower == "biomedbert":
        ids = random.integers(1, 30000, (rows, case.size))
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    from haiku_edge.export.synthetic import render_region, simulate_cohort

    regions = [render_region(patient, 256, 256) for patient in simulate_cohort(min(rows, CASES), seed=SEED)]
    if case.tower != "virtues":
        return {"tiles": np.resize(np.stack([region.he for region in regions]), (rows, 256, 256, 3))}
    measured = np.stack([region.mif[region.measured] for region in regions])
    channels = np.arange(case.size) % measured.shape[1]
    markers = np.tile(np.arange(1, case.size + 1), (rows, 1))
    return {"patches": np.resize(measured[:, channels], (rows, case.size, 256, 256)), "markers": markers}


def prepare(name: str, folder: Path) -> Facts:
    """Write the tower for torch, its graph, and what it makes of the cases in fp32 on the processor."""
    import torch

    from haiku_edge.export.graph import trace_tower, write_graph

    folder.mkdir(parents=True)
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // len(TOWERS)))
    tower = make_tower(name)
    torch.save(tower, folder / "tower.pt")
    facts: Facts = {"parameters": sum(p.numel() for p in tower.parameters())}
    for case in (case for case in CASES_OF if case.tower == name):
        inputs = make_inputs(case, 2 if case.size > 20 and name == "virtues" else 4)
        with torch.inference_mode():
            vectors = tower(**{key: torch.from_numpy(array) for key, array in inputs.items()}).numpy()
        np.savez(folder / f"{case.name}.npz", vectors=vectors, **inputs)
        facts[case.name] = gflop(tower, inputs)
    write_graph(tower, trace_tower(tower), folder, "fp32")
    (folder / "facts.json").write_text(json.dumps(facts))
    return facts


def gflop(tower: Any, inputs: Inputs) -> float:
    """10⁹ floating-point operations an item (two a multiplication), counted by PyTorch without computing them."""
    import copy

    import torch
    from torch.utils.flop_counter import FlopCounterMode

    shapes = {key: torch.from_numpy(array[:1]).to("meta") for key, array in inputs.items()}
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(tower).to("meta")(**shapes)
    return float(counter.get_total_flops()) / 1e9


# --- one row, in a process of its own ---------------------------------------------------------------------------------


def measure(name: str, engine: str, precision: str, folder: Path) -> Facts:
    """Build an engine for a tower, compare it with fp32, and time it at every size."""
    began = time.perf_counter()
    call, stream, found = open_row(engine, precision, folder / name)
    found["ready"] = time.perf_counter() - began
    known = json.loads((folder / name / "facts.json").read_text())
    found["sizes"] = {
        case.name: {"gflop": known[case.name], **measure_case(case, call, stream, folder / name, batches_of(engine))}
        for case in CASES_OF
        if case.tower == name
    }
    return found


def batches_of(engine: str) -> tuple[int, ...]:
    """The batches at which an engine is timed."""
    return COMPILED_BATCHES if engine == "torch.compile" else BATCHES


def measure_case(case: Case, call: Call, stream: Any, folder: Path, batches: tuple[int, ...]) -> Facts:
    """Least cosine to fp32, milliseconds of one item alone, items a second at each batch."""
    with np.load(folder / f"{case.name}.npz") as stored:
        want, inputs = stored["vectors"], {key: stored[key] for key in stored.files if key != "vectors"}
    found: Facts = {"cosine": least_cosine(call(**inputs), want), "rates": {}}
    for size in batches:
        batch = {key: np.resize(array, (size, *array.shape[1:])) for key, array in inputs.items()}
        try:
            found["rates"][str(size)] = rate(stream, batch, size)
        except Exception as error:
            found["rates"][str(size)] = None
            found["note"] = f"batch {size}: {first_line(error)}"
    alone = {key: array[:1] for key, array in inputs.items()}
    found["milliseconds"] = 1000 * median_seconds(lambda: call(**alone))
    return found


def least_cosine(got: np.ndarray, want: np.ndarray) -> float:
    """The least cosine of corresponding rows."""
    norms = np.linalg.norm(got, axis=1) * np.linalg.norm(want, axis=1)
    cosine = float(((got * want).sum(axis=1) / norms).min())
    return cosine if np.isfinite(cosine) else -1.0


def rate(stream: Callable[[Iterator[Inputs]], Iterator[np.ndarray]], batch: Inputs, size: int) -> float:
    """Items a second of a stream of equal batches, over about `SECONDS`."""
    for _ in stream(iter([batch] * 4)):
        pass
    deadline, done = 0.0, 0

    def source() -> Iterator[Inputs]:
        while time.perf_counter() < deadline:
            yield batch

    began = time.perf_counter()
    deadline = began + SECONDS
    for _ in stream(source()):
        done += size
    return done / (time.perf_counter() - began)


def median_seconds(action: Callable[[], object]) -> float:
    """Median time of a call, over about `SECONDS`."""
    action()
    times: list[float] = []
    while not times or sum(times) < SECONDS:
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


def open_row(engine: str, precision: str, folder: Path) -> tuple[Call, Any, Facts]:
    """One call, the stream of batches, and what was found out while the engine was made."""
    if engine.startswith("torch"):
        call = open_torch(engine, precision, folder)
        return call, lambda batches: (call(**batch) for batch in batches), {}
    made, found = (open_onnx if engine == "onnxruntime-cuda" else open_tensorrt)(engine, precision, folder)
    return made, made.embed_batches, found


def open_tensorrt(kind: str, precision: str, folder: Path) -> tuple[Any, Facts]:
    """Build a plan and open it as the run time does."""
    from haiku_edge.export.engines.build_tensorrt import build_plan
    from haiku_edge.export.engines.options import FP8_FROM, LEAST_CAPABILITY, BuildOptions
    from haiku_edge.export.engines.regimes import tower_regimes
    from haiku_edge.runtime.engine.gpu.tensorrt import TensorRTEngine

    model, stripped = read_model(folder, precision), precision.endswith("-stripped")
    least = FP8_FROM if precision == "fp8-static" else LEAST_CAPABILITY
    built = build_plan(model, kind, tower_regimes(model), options=BuildOptions(least=least, stripped=stripped))
    began = time.perf_counter()
    refit = weights_of(model, folder) if stripped else None
    engine = TensorRTEngine(built.content, kind, device_info("tensorrt", precision), refit=refit)
    found = {"build": built.seconds, "open": time.perf_counter() - began, "plan": len(built.content)}
    return engine, found | {"memory": engine.memory, "note": engine.device.reason.removeprefix("asked for").strip("; ")}


def weights_of(derived: Any, folder: Path) -> Any:
    """What a plan without weights is given back, as the run time takes it from a bundle."""
    from haiku_edge.export.engines.stripped import strip_weights
    from haiku_edge.runtime.engine.gpu.refit import read_refit

    tower = read_model(folder, "fp32")
    parts = strip_weights(tower, derived)
    return read_refit(parts.graph, parts.recipe, tower)


def open_onnx(_: str, precision: str, folder: Path) -> tuple[Any, Facts]:
    """ONNX Runtime's CUDA provider; memory is that of the whole process's share of the GPU."""
    from haiku_edge.runtime.engine import OnnxEngine

    model = read_model(folder, precision)
    began = time.perf_counter()
    engine = OnnxEngine(model.graph, device_info("cuda", precision), model.weights)
    return engine, {"open": time.perf_counter() - began}


def open_torch(engine: str, precision: str, folder: Path) -> Call:
    """The torch tower on the GPU, eager or compiled, in fp32 without TF32 or in autocast to bf16."""
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError(f"PyTorch {torch.__version__} sees no GPU")
    device = torch.device("cuda")
    tower = torch.load(folder / "tower.pt", weights_only=False, mmap=True).eval().to(device)
    if engine == "torch.compile":
        tower = torch.compile(tower, dynamic=False)

    def call(**inputs: np.ndarray) -> np.ndarray:
        given = {key: torch.from_numpy(array).to(device) for key, array in inputs.items()}
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            return np.asarray(tower(**given).float().cpu().numpy())

    return call


def read_model(folder: Path, precision: str) -> Any:
    """The graph in a precision, as a bundle would hand it over; ranges of 8 bits are of the tower's first case."""
    from haiku_edge.export.engines.plans import derive
    from haiku_edge.runtime.engine import TowerModel

    tower = {"virtues": "mif", "biomedbert": "text"}.get(folder.name, "he")
    weights = {path.name: path.read_bytes() for path in folder.glob("fp32.weights")}
    model = TowerModel(tower, "0" * 64, (folder / "fp32.onnx").read_bytes(), weights)
    case = next(case for case in CASES_OF if case.tower == folder.name)
    with np.load(folder / f"{case.name}.npz") as stored:
        inputs = {key: stored[key] for key in stored.files if key != "vectors"}
    return derive(model, precision.removesuffix("-stripped"), inputs)  # type: ignore[arg-type]


def device_info(kind: str, precision: str) -> Any:
    """What the engine is told about where it runs."""
    from haiku_edge.runtime.engine import DeviceInfo

    return DeviceInfo(kind, kind, kind, "this machine's", 1, "asked for", precision)


def matmul_peak() -> Facts:
    """10¹² floating-point operations a second of a large matrix product, by precision; fp32 without TF32."""
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError(f"PyTorch {torch.__version__} sees no GPU")
    work, found = 2 * MATMUL_SIDE**3 / 1e12, {"torch": torch.__version__, "bandwidth": bandwidth()}
    for name, kind in (("fp16", torch.float16), ("bf16", torch.bfloat16), ("fp32", torch.float32)):
        left, right = (torch.randn(MATMUL_SIDE, MATMUL_SIDE, device="cuda", dtype=kind) for _ in range(2))
        found[name] = work / best_seconds(lambda a=left, b=right: a @ b)
    return found


def bandwidth() -> float:
    """GB a second of a copy inside the GPU's memory, read and written."""
    import torch

    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / best_seconds(lambda: target.copy_(source)) / 1e9


def best_seconds(action: Callable[[], object]) -> float:
    """The fastest of twenty, by the GPU's own clock."""
    import torch

    times = []
    for _ in range(23):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        action()
        last.record()
        last.synchronize()
        times.append(first.elapsed_time(last) / 1000)
    return float(min(times[3:]))


def first_line(error: BaseException) -> str:
    """The first line of an error."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# --- the table --------------------------------------------------------------------------------------------------------


class Clock:
    """What is left of the time."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes

    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()


def child(clock: Clock, *arguments: str, limit: float = ROW_SECONDS) -> Facts:
    """Run one part of this file in a fresh process; what prevented it is its `why`."""
    seconds = min(limit, clock.left())
    if seconds < 5:
        return {"why": "the time was up"}
    command = [sys.executable, __file__, *arguments]
    # A session of its own, so that compilers that torch starts end with it.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return {"why": f"it took longer than {seconds:.0f} s"}
    if process.returncode < 0:
        return {"why": f"its process ended with {signal.Signals(-process.returncode).name}"}
    try:
        found: Facts = json.loads(out.splitlines()[-1])
    except (ValueError, IndexError):
        found = {"why": (err.strip().splitlines() or ["it said nothing"])[-1]}
    return found


def why_not(engine: str, precision: str, survey: GpuSurvey) -> str:
    """Why an engine can't run here, as far as can be seen without trying; empty where it may."""
    ours = engine.startswith("tensorrt")
    if not survey.usable and (ours or survey.reason == NO_DRIVER):
        return survey.reason
    if ours and engine not in survey.tensorrt:
        return f"{engine} is not installed"
    if engine.startswith("torch") or not survey.gpus:
        return ""
    capability = survey.gpus[0].capability
    support = serves(engine, capability)
    if support.tried and precision == "fp8-static" and precision not in eight_bits(capability):
        return f"compute capability {capability} has no fp8"
    return "" if support.tried else support.reason


def run_all(towers: list[str], engines: list[str], minutes: float, folder: Path) -> Iterator[Facts]:
    """The table again and again, a row longer each time; the most wanted engine of every tower first."""
    clock, survey = Clock(minutes), find_gpus()
    wanted = [(engine, precision) for engine, precision in ENGINES if engine in engines]
    reasons = {(engine, precision): why_not(engine, precision, survey) for engine, precision in wanted}
    table: Facts = {"machine": machine(survey), "peak": {"why": survey.reason}, "towers": {}, "rows": []}
    if not all(reasons.values()):
        table["peak"] = child(clock, "--peak")
        table["towers"] = prepare_all(clock, towers, folder)
    for engine, precision in wanted:
        for name in towers:
            why = reasons[engine, precision] or table["towers"].get(name, {}).get("why", "")
            found = {"why": why} if why else child(clock, "--row", name, engine, precision, "--work", str(folder))
            table["rows"].append({"tower": name, "engine": engine, "precision": precision, **found})
            yield table


def prepare_all(clock: Clock, towers: list[str], folder: Path) -> Facts:
    """Make the towers side by side, on the processor."""
    with ThreadPoolExecutor(len(towers)) as pool:
        made = pool.map(lambda name: child(clock, "--prepare", name, "--work", str(folder), limit=240), towers)
        return dict(zip(towers, made, strict=True))


def machine(survey: GpuSurvey) -> Facts:
    """What this ran on, and when."""
    gpu = survey.gpus[0] if survey.gpus else None
    return {
        "gpu": gpu.name if gpu else survey.reason,
        "capability": gpu.capability if gpu else "",
        "memory": gpu.memory if gpu else 0,
        "driver": survey.driver,
        "cuda-bindings": survey.bindings,
        "tensorrt": dict(survey.tensorrt),
        "python": platform.python_version(),
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def show(table: Facts, console: Console) -> None:
    """Print the table."""
    about = ", ".join(f"{key} {value}" for key, value in table["machine"].items() if value)
    peak = table["peak"]
    console.print(f"{about}\npeak: " + (f"not run: {peak['why']}" if "why" in peak else json.dumps(peak)))
    rates = [f"{size} /s" for size in BATCHES]
    shown = Table("tower", "engine", "", "cosine", "gate", "ms", *rates, "of peak", "GPU MB", "build s", "note")
    for row in table["rows"]:
        for cells in lines_of(row, peak):
            shown.add_row(*cells)
    console.print(shown)


def lines_of(row: Facts, peak: Facts) -> Iterator[tuple[str, ...]]:
    """The lines of one row: one a size, or one that says why there is none."""
    head = (row["tower"], row["engine"], row["precision"])
    if "sizes" not in row:
        yield (*head, *[""] * (len(BATCHES) + 6), f"not run: {row['why']}")
        return
    for name, found in row["sizes"].items():
        rates = [found["rates"].get(str(size)) for size in BATCHES]
        note = "; ".join(filter(None, (row.get("note"), found.get("note"))))
        yield (
            name,
            *head[1:],
            f"{found['cosine']:.6f}",
            verdict(row["precision"], found["cosine"]),
            f"{found['milliseconds']:.2f}",
            *("–" if value is None else f"{value:,.1f}" for value in rates),
            share_of_peak(found, rates, peak.get(row["precision"])),
            f"{row['memory'] / 1e6:,.0f}" if "memory" in row else "–",
            f"{row['build']:.1f}" if "build" in row else "–",
            note,
        )


def verdict(precision: str, cosine: float) -> str:
    """What the gate of float engines says; in 8 bits an atlas decides, and here is none."""
    return "–" if is_quantised(precision) else "yes" if cosine >= LEAST_COSINE else "NO"


def share_of_peak(found: Mapping[str, Any], rates: list[float | None], peak: float | None) -> str:
    """The best rate's arithmetic over what the GPU can do."""
    best = max((value for value in rates if value is not None), default=None)
    return "–" if best is None or not peak else f"{best * found['gflop'] / 1000 / peak:.0%}"


def main() -> None:
    """Measure and print; parts of it run as child processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--towers", nargs="+", choices=TOWERS, default=list(TOWERS))
    names = tuple(dict.fromkeys(engine for engine, _ in ENGINES))
    parser.add_argument("--engines", nargs="+", choices=names, default=list(names))
    parser.add_argument("--out", type=Path, help="the table as JSON")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--prepare", help=argparse.SUPPRESS)
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prepare:
        answer(lambda: prepare(options.prepare, options.work / options.prepare))
    elif options.row:
        answer(lambda: measure(*options.row, options.work))
    elif options.peak:
        answer(matmul_peak)
    else:
        report(options)


def answer(part: Callable[[], Facts]) -> None:
    """As a child: the facts, or why there are none, as the last line."""
    try:
        found = part()
    except Exception as error:
        traceback.print_exc()
        found = {"why": first_line(error)}
    print(json.dumps(found))


def report(options: argparse.Namespace) -> None:
    """The whole table, on the screen and in a file."""
    with tempfile.TemporaryDirectory(prefix="haiku-edge-gpu-") as work:
        table: Facts = {}
        for table in run_all(options.towers, options.engines, options.minutes, Path(work)):
            if options.out:
                options.out.write_text(json.dumps(table, indent=1))
    show(table, Console(width=200))


if __name__ == "__main__":
    main()
