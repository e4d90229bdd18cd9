"""A detector as numbers and JSON, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from anomaly.encoder import Encoder
from anomaly.models import Member, restore
from anomaly.schema import Schema
from anomaly.text import Text
from anomaly.text_members import restored, see
from anomaly.windows import Windows
from training.config import from_dict
from training.errors import InputError

if TYPE_CHECKING:
    from anomaly.detector import Detector

GLANCE, TEXT = "glance.", "text."  # their arrays begin with


def pack(detector: "Detector") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The arrays, and what is fit for JSON."""
    arrays = {
        "calibration": torch.from_numpy(detector.calibration),
        "references": torch.from_numpy(np.ascontiguousarray(detector.references)),
    }
    for i, member in enumerate(detector.members):
        arrays |= {f"{i}.{name}": array for name, array in member.arrays().items()}
    if detector.glance:
        arrays |= {f"{GLANCE}{name}": array for name, array in detector.glance.arrays().items()}
    description = {
        "kind": "detector",
        "detector": detector.kind,
        "schema": detector.schema.to_json(),
        "encoder": detector.encoder.to_json(),
        "members": [member.describe(_seen(detector, member)) for member in detector.members],
        "weights": [member.weight for member in detector.members],
        "alpha": detector.alpha,
        "about": detector.about,
    }
    if detector.windows:
        description["windows"] = asdict(detector.windows)
    for name, text in detector.encoder.texts.items():
        arrays |= {f"{TEXT}{name}.{part}": array for part, array in text.arrays().items()}
    return arrays, description


def unpack(arrays: Mapping[str, Tensor], found: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The fields of the detector that `pack` was given; `folder` is for messages.

    Raises:
        InputError: when it is not a detector, or an older version wrote it.
    """
    if found.get("kind") != "detector":
        raise InputError(f"{folder} holds a {found.get('kind')}, expected a detector: see `lab fit`")
    where = f"{folder}/model.json"
    if "weights" not in found:
        raise InputError(f"{where} has no weights of its members, an older version wrote it: fit it again")
    parts: Sequence[dict[str, Any]] = found["members"]
    members = [
        restore(part, {k.split(".", 1)[1]: v for k, v in arrays.items() if k.startswith(f"{i}.")}, folder)
        for i, part in enumerate(parts)
    ]
    texts = {
        name: Text.of_arrays(_part(arrays, f"{TEXT}{name}."), words, f"{where}: texts: {name}")
        for name, words in found["encoder"].get("texts", {}).items()
    }
    encoder = Encoder.from_json(found["encoder"], where, texts)
    for member, weight in zip(members, found["weights"], strict=True):
        member.weight = weight
    see(members, encoder)
    glance = _part(arrays, GLANCE)
    return {
        "kind": found["detector"],
        "schema": Schema.from_json(found["schema"], where),
        "encoder": encoder,
        "members": members,
        "calibration": arrays["calibration"].numpy(),
        "references": arrays["references"].numpy(),
        "alpha": found["alpha"],
        "about": found["about"],
        "glance": restored(glance, members) if glance else None,
        "windows": from_dict(Windows, found["windows"], f"{where}: windows") if "windows" in found else None,
    }


def _part(arrays: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _seen(detector: "Detector", member: Member) -> tuple[str, ...]:
    """The names of the features that a member looks at."""
    names = detector.encoder.features
    return names if member.sees is None else tuple(names[i] for i in member.sees)
