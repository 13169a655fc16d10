"""Bundles made from the embedded one: with trained heads, or without some part."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
from onnx import TensorProto, helper, numpy_helper

from haiku_edge.export.bundle import write_bundle
from haiku_edge.runtime.bundle import Description, HeadSection, open_bundle


def rewrite(folder: Path, contents: dict[str, bytes] | None = None, **changes: object) -> Path:
    """The embedded bundle with changes to its manifest and with more files; files that no part names are left out.

    Without a text tower the heads that read it go too.
    """
    bundle = open_bundle(None)
    stated = {name: getattr(bundle.manifest, name) for name in Description.model_fields}
    if "text" in changes and changes["text"] is None:
        stated["heads"] = tuple(head for head in stated["heads"] if head.features == "he")
    description = Description(**(stated | changes))
    more = contents or {}
    wanted = {name for name in description.named_files() if name not in more}
    write_bundle(folder, description, {name: bundle.read(name) for name in wanted} | more)
    return folder


def slide_head(weight: np.ndarray, query: np.ndarray) -> bytes:
    """Attention pooling: scores = (softmax(V q)ᵀ V) W, attention = softmax(V q)."""
    nodes = [
        helper.make_node("MatMul", ["vectors", "query"], ["energy"]),
        helper.make_node("Softmax", ["energy"], ["weights"], axis=0),
        helper.make_node("Transpose", ["weights"], ["across"], perm=[1, 0]),
        helper.make_node("MatMul", ["across", "vectors"], ["slide"]),
        helper.make_node("MatMul", ["slide", "weight"], ["scores"]),
        helper.make_node("Reshape", ["weights", "flat"], ["attention"]),
    ]
    outputs = [
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, weight.shape[1]]),
        helper.make_tensor_value_info("attention", TensorProto.FLOAT, ["n"]),
    ]
    constants = {"query": query.reshape(-1, 1), "weight": weight}
    return _model(nodes, outputs, constants | {"flat": np.array([-1], np.int64)}, len(weight))


def tile_head(weight: np.ndarray) -> bytes:
    """scores = V W."""
    nodes = [helper.make_node("MatMul", ["vectors", "weight"], ["scores"])]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", weight.shape[1]])]
    return _model(nodes, outputs, {"weight": weight}, len(weight))


def _model(nodes: list, outputs: list, constants: dict[str, np.ndarray], dimension: int) -> bytes:
    given = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", dimension])
    kept = [
        numpy_helper.from_array(value if value.dtype == np.int64 else value.astype(np.float32), name)
        for name, value in constants.items()
    ]
    graph = helper.make_graph(nodes, "head", [given], outputs, kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def class_cases(patients: list[str], scores: np.ndarray, labels: list[str]) -> bytes:
    """A classifier's out-of-fold predictions."""
    return _table({"patient": pa.array(patients), "scores": _lists(scores), "label": pa.array(labels)})


def survival_cases(patients: list[str], scores: np.ndarray, months: np.ndarray, events: np.ndarray) -> bytes:
    """A survival head's out-of-fold predictions."""
    time = pa.array(months.astype(np.float32))
    return _table({"patient": pa.array(patients), "scores": _lists(scores), "time": time, "event": pa.array(events)})


def _lists(scores: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(scores.astype(np.float32).ravel()), scores.shape[1])


def _table(columns: dict[str, pa.Array]) -> bytes:
    table, sink = pa.table(columns), io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


CLASSES = ("I", "II", "III")
HEADS = ("stage", "survival", "grade", "notes-risk")


def bundle_with_heads(folder: Path, seed: int = 0) -> Path:
    """The embedded bundle with a head of each kind and one that reads notes; their cases follow from the seed."""
    rng = np.random.default_rng(seed)
    dimension = open_bundle(None).manifest.embedding_dimension
    names = [f"T{i:03d}" for i in range(80)]
    labels = rng.integers(0, 3, 80)
    logits = rng.normal(size=(80, 3)) + 2 * np.eye(3)[labels]
    risk = rng.normal(size=(80, 1))
    died = rng.exponential(40 * np.exp(-risk[:, 0]))
    seen = rng.uniform(10, 90, 80)
    follow_up = (np.minimum(died, seen), died <= seen)
    query = 4 * rng.normal(size=dimension)
    said = [CLASSES[label] for label in labels]
    files = {
        "heads/stage.onnx": slide_head(rng.normal(size=(dimension, 3)), query),
        "heads/stage.arrow": class_cases(names, logits, said),
        "heads/survival.onnx": slide_head(rng.normal(size=(dimension, 1)), query),
        "heads/survival.arrow": survival_cases(names, risk, *follow_up),
        "heads/grade.onnx": tile_head(3 * rng.normal(size=(dimension, 3))),
        "heads/grade.arrow": class_cases(names * 2, np.concatenate([logits, logits]), said * 2),
        "heads/notes-risk.onnx": slide_head(rng.normal(size=(2 * dimension, 1)), rng.normal(size=2 * dimension)),
        "heads/notes-risk.arrow": survival_cases(names, risk, *follow_up),
    }
    kinds = {"stage": "slide_classifier", "grade": "tile_classifier"}
    heads = tuple(
        HeadSection(
            name=name,
            kind=kinds.get(name, "survival"),
            file=f"heads/{name}.onnx",
            features="he+text" if name == "notes-risk" else "he",
            target={"stage": "stage", "grade": "grade"}.get(name, "overall survival"),
            classes=CLASSES if name in kinds else (),
            cases=f"heads/{name}.arrow",
            patients=80,
            metrics={"auroc": 0.81} if name in kinds else {"concordance": {"value": 0.66, "low": 0.58, "high": 0.73}},
        )
        for name in HEADS
    )
    return rewrite(folder, files, heads=heads)
