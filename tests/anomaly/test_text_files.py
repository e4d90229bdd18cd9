"""Lines of text files: every row keeps its number, whatever stands between the rows."""

import csv
import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly import delimited
from anomaly.detector import Detector
from anomaly.reader import read
from anomaly.sample import of_file
from anomaly.scoring import Wish, score_file
from training.errors import InputError


def written(folder: Path, content: bytes, name: str = "t.csv") -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n"])
@settings(max_examples=60, deadline=None)
@given(cells=st.lists(st.sampled_from(["", "1", "2.5", '"a\n\nb"']), min_size=1, max_size=30))
def test_a_blank_line_in_one_column_is_a_gap(
    tmp_path_factory: pytest.TempPathFactory, cells: list, end: str
) -> None:
    text = end.join(["v", *cells, "7"]) + end
    found = read(written(tmp_path_factory.mktemp("csv"), text.encode()))
    assert found["v"].to_pylist() == [cell.strip('"') for cell in [*cells, "7"]]


@pytest.mark.parametrize(("ends", "gaps"), [("", 0), ("\n", 0), ("\n\n", 0), ("\n\n\n", 1), ("\r\n\r\n", 0)])
def test_one_blank_line_at_the_very_end_is_no_row(tmp_path: Path, ends: str, gaps: int) -> None:
    assert read(written(tmp_path, f"v\n1{ends}".encode()))["v"].to_pylist() == ["1", *[""] * gaps]
    assert len(read(written(tmp_path, f"v,w\n1,2{ends}".encode()))) == 1


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["", "x", "a\n\nb", 'say "\n\n"']), st.text("12", min_size=1, max_size=9)),
        min_size=1,
        max_size=12,
    ),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
    blank=st.none() | st.integers(0, 11),
    size=st.integers(40, 90),
)
def test_a_blank_line_among_wider_rows_is_refused_wherever_the_file_is_cut(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list,
    before: int,
    after: int,
    blank: int | None,
    size: int,
) -> None:
    blank = None if blank is None or blank >= len(rows) else blank
    out = io.StringIO("\n" * before, newline="")
    out.seek(0, io.SEEK_END)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["left", "right"])
    line = 0
    for i, row in enumerate(rows):
        if i == blank:
            line = out.getvalue().count("\n") + 1
            out.write("\n")
        writer.writerow(row)
    source = written(tmp_path_factory.mktemp("csv"), (out.getvalue() + "\n" * after).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "BYTES", size)
        if blank is None:
            assert read(source).to_pydict() == {"left": [a for a, _ in rows], "right": [b for _, b in rows]}
        else:
            with pytest.raises(InputError, match=f"line {line} is blank, expected a row"):
                read(source)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_there_is_a_score_for_each_line_of_one_column(tmp_path: Path, name: str) -> None:
    x = np.random.default_rng(0).normal(size=200).round(3).astype(str)
    x[::4] = ""
    content = "\n".join(["v", *x, ""]).encode()
    source = written(tmp_path, gzip.compress(content) if name.endswith("gz") else content, name)
    detector = Detector.fit(of_file(source), "nearest")
    detector.save(tmp_path / "model")
    out = tmp_path / "scores.csv"
    assert score_file(detector, tmp_path / "model", source, out, Wish(0.05, None, 0, 0, None)).rows == 200
    assert len(read(str(out))) == 200


@settings(max_examples=60, deadline=None)
@given(
    cells=st.lists(st.text("aé€漢😀12,\n", min_size=1, max_size=20), min_size=1, max_size=30),
    encoding=st.sampled_from(["utf-16", "utf-16-be", "utf-8-sig"]),
    size=st.integers(100, 140),
    packed=st.booleans(),
)
def test_utf_16_that_says_so_reads_as_utf_8_wherever_the_file_is_cut(
    tmp_path_factory: pytest.TempPathFactory, cells: list, encoding: str, size: int, packed: bool
) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([["v", "w"], *((cell, "x") for cell in cells)])
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    content = (mark + out.getvalue()).encode(encoding)
    name = "t.csv.gz" if packed else "t.csv"
    source = written(tmp_path_factory.mktemp("csv"), gzip.compress(content) if packed else content, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "BYTES", size)
        assert read(source)["v"].to_pylist() == cells


@pytest.mark.parametrize(
    "content", [b"\xff\xfea\x00\n\x001\x00\n\x00\x00\xd8", b"\xff\xfea\x00\n\x001\x00\n\x00\x00\xd8x\x00"]
)
def test_damaged_utf_16_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError) as error:
        read(written(tmp_path, content))
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_utf_8_is_refused_with_what_helps(tmp_path: Path) -> None:
    source = written(tmp_path, "a;b\n1;2 €\n".encode("cp1252"))
    with pytest.raises(
        InputError, match=r"line 2 has the byte 0x80, .*`iconv -f cp1252 -t utf-8 FILE > NEW`"
    ):
        read(source)
