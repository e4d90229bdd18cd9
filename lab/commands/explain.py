"""`lab explain DETECTOR DATA --row N`: what makes one row strange, beside the nearest normal row."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from anomaly.explain import nearest_reference, ordered, reasons
from anomaly.shapley import BACKGROUND, shap_values
from anomaly.windows import stream
from lab.arguments import parse
from lab.commands.score import load
from lab.pictures import png
from lab.strange_pictures import strange_pictures
from lab.strange_rows import with_words
from training.errors import InputError
from training.files import writing

SHOWN = 20  # columns
MARKED = "»"  # a token of a text


@dataclass(frozen=True)
class Explain:
    """What `lab explain` is told."""

    detector: tyro.conf.Positional[Path]  # the folder that `lab fit` made
    data: tyro.conf.Positional[str]  # rows, as `lab fit` takes them: a file, digits, or a folder of pictures
    row: int  # which row, counted from 0
    picture: Path | None = None  # a .png to draw a picture in, beside the nearest normal one and what differs
    shap: bool = False  # against many normal rows at once, by the shap library, not the nearest one alone


def main(words: list[str]) -> None:
    """Parses and runs `lab explain DETECTOR DATA --row N`."""
    told: Explain = parse(Explain, words, "lab explain", "Says what makes a row strange.")
    if told.row < 0:
        raise InputError(f"row is {told.row}, expected 0 or more")
    torch.set_num_threads(1)
    detector = load(told.detector)
    if told.picture and "shape" not in detector.about:
        raise InputError(f"{told.detector} is a detector of tables, --picture expects one of pictures")
    found = next(stream(detector, told.data, told.row), None)
    if found is None or told.row - found[0] >= len(found[1]):
        end = "before it" if found is None else f"with row {found[0] + len(found[1]) - 1}"
        raise InputError(f"{told.data} ends {end}, expected a row {told.row}")
    first, block, context = found
    at = told.row - first
    seen = detector.seen(block, told.data, first, context)
    if not seen.judged[at]:
        raise InputError(f"row {told.row} has no window, expected a row with {seen.length - 1} before it")
    x, novel = seen.of(np.array([at])), seen.novel[at : at + 1]
    score, told_by_all = detector.scored(x, novel.sum(1)), float(detector.score_features(x, novel.sum(1))[0])
    p = float(detector.p_of(score)[0])
    if told.shap:
        phi, base = shap_values(detector, x[0], novel[0])
        nearest = int(nearest_reference(detector, x)[0])
        why = ordered(detector, x[0], novel[0], nearest, phi, seen.whose(at))
        against = f"{min(BACKGROUND, len(detector.references))} normal rows score"
        mean = " in the mean"
    else:
        why = reasons(detector, x[0], novel[0], series=seen.whose(at))
        base = told_by_all - sum(reason.contribution for reason in why)
        against, mean = "the nearest normal row scores", ""
    why = with_words(detector, why, block, at)
    if told.picture:
        shares = {reason.column: reason.share for reason in why}
        drawn = strange_pictures(detector, [{"features": x[0], "shares": shares}])
        with writing(told.picture) as file:
            file.write(png(drawn))
    print(f"row {told.row}: score {score[0]:.4g}, p-value {p:.3g}")
    if score[0] != told_by_all:
        print(f"  a glance cleared it; all models, which are explained here, say {told_by_all:.4g}")
    what = "region" if "shape" in detector.about else "column"
    width = max(len(what), *(len(reason.column) for reason in why[:SHOWN]))
    print(f"  {what:<{width}}  {'contribution':>12}  {'share':>6}  {'value':<18}  in the nearest normal row")
    texts = detector.encoder.texts
    for reason in why[:SHOWN]:
        if reason.column in texts and MARKED in reason.value:
            print(f"  {reason.column:<{width}}  {reason.contribution:>12.4g}  {reason.share:>6.1%}  text:")
            print(f"    {reason.value}\n    expected {reason.expected}")
            continue
        print(
            f"  {reason.column:<{width}}  {reason.contribution:>12.4g}  {reason.share:>6.1%}"
            f"  {_on_one_line(reason.value):<18.18}  {_on_one_line(reason.expected):.24}"
        )
    if len(why) > SHOWN:
        others = sum(reason.contribution for reason in why[SHOWN:])
        print(f"  {len(why) - SHOWN} more {what}s: {others:.4g}")
    total = base + sum(reason.contribution for reason in why)
    print(f"  {against} {base:.4g}{mean}; with the contributions that makes {total:.4g}")


def _on_one_line(cell: str) -> str:
    return " ".join(cell.split())
