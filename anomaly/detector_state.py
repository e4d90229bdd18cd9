"""A detector as numbers and JSON, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from anomaly.encoder import Encoder
from anomaly.glance import Glance
from anomaly.models import restore
from anomaly.schema import Schema
from anomaly.windows import Windows
from training.config import from_dict
from training.errors import InputError

if TYPE_CHECKING:
    from anomaly.detector import Detector

GLANCE = "glance."  # its arrays begin with


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
        "members": [member.describe(detector.encoder.features) for member in detector.members],
        "weights": [member.weight for member in detector.members],
        "alpha": detector.alpha,
        "about": detector.about,
    }
    if detector.windows:
        description["windows"] = asdict(detector.windows)
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
    for member, weight in zip(members, found["weights"], strict=True):
        member.weight = weight
    glance = {k.removeprefix(GLANCE): v for k, v in arrays.items() if k.startswith(GLANCE)}
    return {
        "kind": found["detector"],
        "schema": Schema.from_json(found["schema"], where),
        "encoder": Encoder.from_json(found["encoder"], where),
        "members": members,
        "calibration": arrays["calibration"].numpy(),
        "references": arrays["references"].numpy(),
        "alpha": found["alpha"],
        "about": found["about"],
        "glance": Glance.of_arrays(glance) if glance else None,
        "windows": from_dict(Windows, found["windows"], f"{where}: windows") if "windows" in found else None,
    }
