from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.faults import Fault
from envs.recording import record
from generative.data import load, split
from training.errors import InputError


def csv(tmp_path: Path, text: str) -> str:
    (tmp_path / "some.csv").write_bytes(text.encode())
    return str(tmp_path / "some.csv")


def test_digits_are_bundled() -> None:
    table = load("digits")
    assert table.x.shape == (1797, 64)
    assert table.x.max() == 16


def test_the_same_numbers_come_out_of_every_kind_of_file(tmp_path: Path) -> None:
    x = np.array([[1.0, 2.5], [3.0, -4.0]])
    np.save(tmp_path / "a.npy", x)
    for key in ("x", "X", "x_train"):
        np.savez(tmp_path / f"{key}.npz", **{key: x})
    pq.write_table(pa.table({"p": x[:, 0], "q": x[:, 1]}), tmp_path / "a.parquet")
    csv(tmp_path, "p,q\n1,2.5\n3,-4\n")
    for file in ("a.npy", "x.npz", "X.npz", "x_train.npz", "a.parquet", "some.csv"):
        np.testing.assert_array_equal(load(str(tmp_path / file)).x, x)
    assert load(str(tmp_path / "some.csv")).columns == ("p", "q") == load(str(tmp_path / "a.parquet")).columns


def test_a_csv_without_a_header_loses_no_row(tmp_path: Path) -> None:
    table = load(csv(tmp_path, "1,2\n3,4\n"))
    assert table.x.tolist() == [[1, 2], [3, 4]]
    assert table.columns == ("x0", "x1")


def test_quoted_numbers_and_gaps_are_no_header(tmp_path: Path) -> None:
    assert load(csv(tmp_path, '"0.5","-1"\n"2","3"\n')).x.tolist() == [[0.5, -1], [2, 3]]
    with pytest.raises(InputError, match="column 'x1', row 0 is missing"):
        load(csv(tmp_path, "1.0,,3.0\n4,5,6\n"))


def test_blank_lines_and_counted_headers_lose_and_gain_no_row(tmp_path: Path) -> None:
    assert load(csv(tmp_path, "\n1,2\n3,4\n")).x.tolist() == [[1, 2], [3, 4]]
    table = load(csv(tmp_path, "0,1\n5,6\n"))
    assert (table.columns, table.x.tolist()) == (("0", "1"), [[5, 6]])
    with pytest.raises(InputError, match="cannot be read as CSV"):
        load(csv(tmp_path, "a" * 200_000 + ",b\n1,2\n"))


def test_large_whole_numbers_and_decimals_are_numbers(tmp_path: Path) -> None:
    assert load(csv(tmp_path, "t\n1732286400123456789\n1732286400123456790\n")).x[0, 0] == 1732286400123456768
    decimals = pa.table({"d": pa.array([Decimal("1.50"), Decimal("2.25")])})
    pq.write_table(decimals, tmp_path / "d.parquet")
    assert load(str(tmp_path / "d.parquet")).x.tolist() == [[1.5], [2.25]]


def test_a_byte_order_mark_and_windows_lines_do_no_harm(tmp_path: Path) -> None:
    assert load(csv(tmp_path, "\ufeffa,b\r\n1,2\r\n")).columns == ("a", "b")
    assert load(csv(tmp_path, "\ufeff1,2\r\n3,4\r\n")).x.tolist() == [[1, 2], [3, 4]]


def test_pictures_become_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", x_train=np.zeros((5, 4, 3), np.uint8))
    assert load(str(tmp_path / "p.npz")).x.shape == (5, 12)


def test_recorded_episodes_become_transitions(tmp_path: Path) -> None:
    import torch

    episodes = record(
        lambda obs: torch.ones(len(obs), dtype=torch.int64), "CartPole-v1", range(3), [Fault(kind="none")] * 3
    )
    episodes.save(tmp_path / "e.npz")
    table = load(str(tmp_path / "e.npz"))
    assert table.columns == (
        *(f"obs{i}" for i in range(4)),
        "action=0",
        "action=1",
        *(f"change{i}" for i in range(4)),
    )
    np.testing.assert_allclose(table.x[:, :4] + table.x[:, 6:], episodes.next_obs, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3,hello\n", "column 'b', row 1 is 'hello', expected a number"),
        ("a,b\n1,\n3,4\n", "column 'b', row 0 is missing"),
        ("a,b\n1,nan\n3,4\n", "column 'b', row 0 is missing"),
        ("a,b\n1,2\n3,1e400\n", "column 'b', row 1 is inf, expected a number up to"),
        ("a,b\n1,2\n3,1e200\n", "column 'b', row 1 is 1e\\+200"),
        ("a,b\n1,2\n3\n", "cannot be read as CSV.*Expected 2 columns, got 1"),
        ("a,b\n1,2\n3,4,5\n", "cannot be read as CSV.*Expected 2 columns, got 3"),
        ("a,b\n", "has the shape"),
        ("", "cannot be read as CSV.*[Ee]mpty"),
        ("a,a\n1,2\n", "has the column 'a' twice"),
        ("a;b\n1,5;2\n", "expected a number|cannot be read"),
        ("a,b\n2024-01-01,2\n", "column 'a', row 0 is '2024-01-01'"),
    ],
)
def test_a_csv_that_does_not_hold_numbers_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(csv(tmp_path, text))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1,2")
    (tmp_path / "a.parquet").write_text("no")
    (tmp_path / "a.npy").write_text("no")
    (tmp_path / "a.npz").write_text("no")
    (tmp_path / "latin.csv").write_bytes("a,b\n\xe9,1\n".encode("latin-1"))
    np.savez(tmp_path / "keys.npz", y=np.zeros((2, 2)))
    np.save(tmp_path / "text.npy", np.array([["a"]]))
    np.save(tmp_path / "flat.npy", np.zeros(3))
    np.save(tmp_path / "empty.npy", np.zeros((0, 3)))
    np.save(tmp_path / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    for file, message in {
        "a.txt": "of the kind '.txt'",
        "a.parquet": "as Parquet",
        "a.npy": "as a NumPy array",
        "a.npz": "cannot be read as arrays",
        "latin.csv": "cannot be read as CSV|expected a number",
        "keys.npz": "has y, expected one of x",
        "text.npy": "values of type",
        "flat.npy": r"shape \(3,\)",
        "empty.npy": r"shape \(0, 3\)",
        "pickle.npy": "as a NumPy array",
        "missing.csv": "does not exist",
        ".": "has no pictures",
    }.items():
        with pytest.raises(InputError, match=message):
            load(str(tmp_path / file))


def test_columns_are_compared_by_name(tmp_path: Path) -> None:
    table = load(csv(tmp_path, "a,b\n1,2\n"))
    table.expect(("a", "b"), "the detector")
    with pytest.raises(InputError, match="has 2 columns, the detector expects 3"):
        table.expect(("a", "b", "c"), "the detector")
    with pytest.raises(InputError, match="column 0 is 'a', the detector expects 'b'"):
        table.expect(("b", "a"), "the detector")


@given(
    rows=st.integers(3, 500),
    seed=st.integers(0, 5),
    shares=st.sampled_from([(0.6, 0.15, 0.25), (1, 1, 98), (98, 1, 1)]),
)
def test_parts_are_disjoint_whole_and_never_empty(rows: int, seed: int, shares: tuple) -> None:
    parts = list(split(rows, seed, *shares))
    assert all(len(part) for part in parts)
    assert sorted(np.concatenate(parts)) == list(range(rows))


def test_two_rows_cannot_be_three_parts() -> None:
    with pytest.raises(InputError, match="2 rows or episodes, expected at least 3"):
        split(2, 0, 1, 1, 1)
