"""What a row's features say, as a reader would write the cells."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from anomaly.encoder import WORDS, Encoder

TEXT = "text"  # a text, of which features tell nothing that a reader would


def shown(
    encoder: Encoder, x: Float[np.ndarray, " F"], i: int, novel: bool = False, series: int | None = None
) -> str:
    """The features of input number `i` as a reader would write the cell; `novel`: none was like it.

    `series` is the number of the row's series where each has its own scale.
    A gap where there was none in fitting has no feature, nor has another value of a constant column.
    """
    coding = encoder.codings[i]
    if coding.kind == "text":
        return "missing" if novel else TEXT
    if coding.empty:
        return "a value, where none was" if novel else "missing"
    if novel and coding.kind == "category":
        return "another word" if coding.gaps else "another word, or missing"
    if novel:
        if coding.least:
            return "not positive" if coding.gaps else "not positive, or missing"
        return f"not {coding.shift:.6g}" if coding.constant and coding.kind == "numeric" else "missing"
    values = {encoder.features[f]: x[f] for f in np.flatnonzero(encoder.owner == i)}
    if values.get(f"{coding.column} is missing", 0) > 0.5:
        return "missing"
    if coding.kind == "numeric":
        value = values.get(coding.column, 0.0) * coding.scale + coding.shift
        if encoder.own is not None and series is not None:
            value = encoder.own.back(coding.column, value, series)
        return f"{np.exp(value) if coding.least else value:.6g}"
    if coding.kind == "date":
        return _clock(coding.column, values)
    chosen = [word for word in coding.words[:WORDS] if values.get(f"{coding.column} = {word}", 0) > 0.5]
    return chosen[0] if chosen else (coding.words[0] if coding.constant else "another word")


def _clock(name: str, values: Mapping[str, float]) -> str:
    """Day of the week and time of day from points on circles."""
    said = []
    sine, cosine = values.get(f"{name}: week sin"), values.get(f"{name}: week cos")
    if sine is not None and cosine is not None:
        turn = np.arctan2(sine, cosine) / (2 * np.pi) % 1
        said.append(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[int(turn * 7 + 1e-6) % 7])
    sine, cosine = values.get(f"{name}: day sin"), values.get(f"{name}: day cos")
    if sine is not None and cosine is not None:
        minute = round(np.arctan2(sine, cosine) / (2 * np.pi) % 1 * 1440) % 1440
        said.append(f"{minute // 60:02d}:{minute % 60:02d}")
    return " ".join(said) or "some day"
