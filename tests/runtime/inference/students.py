"""A bundle with a student that only sees a tile's mean colour."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from haiku_edge.runtime.bundle import Agreement, StudentSection, open_bundle
from tests.runtime.inference.bundles import rewrite

AGREEMENT = Agreement(
    tiles=40, slides=4, patients=3, cosine_least=0.51, cosine_mean=0.87, neighbour_overlap=0.44, biomarker_pearson=0.9
)
SECTION = StudentSection(
    file="towers/student-mobile.onnx", tile_size=256, mpp=0.5, kind="mobile", parameters=512, agreement=AGREEMENT
)
WEIGHTS = np.random.default_rng(8).normal(size=(3, 128)).astype(np.float32)


def mean_colour(tiles: np.ndarray) -> np.ndarray:
    """(n, 128) float32: what the student's graph gives, computed by numpy."""
    vectors = (tiles.astype(np.float32).mean(axis=(1, 2)) - 128) @ WEIGHTS
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def student_graph() -> bytes:
    """The same as a graph."""
    nodes = [
        helper.make_node("Cast", ["tiles"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["colour"], keepdims=0),
        helper.make_node("Sub", ["colour", "grey"], ["centred"]),
        helper.make_node("MatMul", ["centred", "weights"], ["long"]),
        helper.make_node("LpNormalization", ["long"], ["vector"], axis=1, p=2),
    ]
    constants = {"axes": np.array([1, 2], np.int64), "grey": np.array(128, np.float32), "weights": WEIGHTS}
    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["batch", 256, 256, 3])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["batch", 128])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def bundle_with_student(folder: Path, section: StudentSection = SECTION, **more: bytes) -> Path:
    """The embedded bundle with that student and its golden vectors."""
    bundle = open_bundle(None)
    golden = bundle.manifest.golden.file
    with np.load(io.BytesIO(bundle.read(golden))) as stored:
        arrays = {name: stored[name] for name in stored.files}
    sink = io.BytesIO()
    np.savez(sink, **arrays, **{f"{section.name}_vectors": mean_colour(arrays["he_tiles"])})
    files = {section.file: student_graph(), golden: sink.getvalue()}
    return rewrite(folder, files | {name.replace("__", "/"): data for name, data in more.items()}, students=(section,))
