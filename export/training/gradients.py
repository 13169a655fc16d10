"""Gradients of a contrastive batch that is too large to be embedded at once.

A contrastive batch can't be cut in parts whose losses are added up: every sample is compared with all others. So the
encoders run in parts without gradients, the heads and the loss on the whole batch, and then the encoders once more,
part by part, each taking up the gradient that reached its vectors (gradient caching: Gao et al., 2101.06983). The
result is that of the whole batch.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn

from haiku_edge.runtime.errors import UsageError

from ..model import Towers
from .batch import Batch
from .loss import ContrastiveLoss

Features = dict[str, Tensor]
"""Vectors by tower, (n, width) each, before the heads."""


def contrast(towers: Towers, loss: ContrastiveLoss, batch: Batch) -> Tensor:
    """The loss of a batch that is embedded at once."""
    return compare(towers, loss, encode(towers, batch), batch.regions)


def encode(towers: Towers, batch: Batch) -> Features:
    """Run the encoders; in lower precision where a GPU computes."""
    found: Features = {}
    with autocast(batch.he.device):
        found["he"] = towers.he.encode(batch.he)
        if batch.encoded is not None:
            found["mif"] = batch.encoded
        else:
            assert batch.mif is not None and batch.markers is not None
            found["mif"] = towers.mif.encode(batch.mif, batch.markers)
        if towers.text is not None and batch.input_ids is not None and batch.attention_mask is not None:
            found["text"] = towers.text.encode(batch.input_ids, batch.attention_mask)
    return {name: vectors.float() for name, vectors in found.items()}


def compare(towers: Towers, loss: ContrastiveLoss, features: Features, regions: Tensor) -> Tensor:
    """Project and compare, always in fp32: the heads' BatchNorm and the softmax lose too much otherwise."""
    text = None if towers.text is None or "text" not in features else towers.text.head(features["text"])
    found: Tensor = loss(towers.he.head(features["he"]), towers.mif.head(features["mif"]), text, regions)
    return found


def backward(towers: Towers, loss: ContrastiveLoss, batch: Batch, most: int) -> float:
    """Compute the loss of a batch, and add its gradients to those of the parameters.

    Args:
        towers: Towers in training.
        loss: The loss.
        batch: The batch.
        most: Samples that are embedded at once.

    Returns:
        The loss.
    """
    if len(batch) <= most:
        value = contrast(towers, loss, batch)
        value.backward()  # type: ignore[no-untyped-call]
        return value.item()
    check_divisible(towers)
    cuts = range(0, len(batch), most)
    with torch.no_grad():
        parts = [encode(towers, batch.part(start, start + most)) for start in cuts]
    features = {name: torch.cat([part[name] for part in parts]).requires_grad_() for name in parts[0]}
    value = compare(towers, loss, features, batch.regions)
    value.backward()  # type: ignore[no-untyped-call]
    for start in cuts:
        _carry_on(encode(towers, batch.part(start, start + most)), features, start)
    return value.item()


def _carry_on(part: Features, features: Features, start: int) -> None:
    """Send the gradients of a part's vectors on into the encoders; frozen ones take none."""
    moving = [(name, vectors) for name, vectors in part.items() if vectors.requires_grad]
    gradients = [features[name].grad[start : start + len(vectors)] for name, vectors in moving]  # type: ignore[index]
    if moving:
        torch.autograd.backward([vectors for _, vectors in moving], gradients)


def check_divisible(towers: Towers) -> None:
    """Refuse to cut a batch where an encoder normalises over it.

    Raises:
        UsageError: A BatchNorm of an encoder is in training.
    """
    norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    for tower in towers.modules().values():
        encoder: nn.Module = tower.encoder  # type: ignore[assignment]
        if any(isinstance(module, norms) and module.training for module in encoder.modules()):
            raise UsageError(
                "A convolutional stem normalises over the batch, so that the batch can't be embedded in parts. Give "
                "--at-once the size of the batch, or take towers without a stem."
            )


def autocast(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """bfloat16 where a GPU has it; elsewhere fp32, since a processor gains nothing and results shall repeat."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()
