"""Files of every kind, whole and broken: rows come as they are, or one line says what is wrong."""

import gzip
import io
import weakref
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly import delimited, reader
from anomaly.reader import blocks, columns_of, read
from anomaly.sample import of_file
from anomaly.schema import Survey
from generative.data import load
from training.errors import InputError


def written(tmp_path: Path, content: bytes, name: str = "t.csv") -> str:
    (tmp_path / name).write_bytes(content)
    return str(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"a,b\n1,x\n2,y\n", "t.csv"),
        (b"\xef\xbb\xbfa,b\r\n1,x\r\n2,y\r\n", "t.csv"),
        (b'"a";"b"\n1;x\n2;"y"', "t.csv"),
        (b"a,b\r\n1,x\r\n2,y\r\n\r\n\n", "t.csv"),
        (b"a\tb\n1\tx\n2\ty\n", "t.tsv"),
        (gzip.compress(b"a,b\n1,x\n2,y\n", mtime=0), "t.csv.gz"),
        (b"\n \r\n\na,b\n1,x\n2,y\n", "t.csv"),
    ],
)
def test_csv_in_its_dialects_reads_the_same(tmp_path: Path, content: bytes, name: str) -> None:
    assert read(written(tmp_path, content, name)).to_pydict() == {"a": ["1", "2"], "b": ["x", "y"]}


def test_quoted_cells_keep_separators_quotes_and_line_breaks(tmp_path: Path) -> None:
    found = read(written(tmp_path, b'a,b\n"1,2","say ""yes""\nor no"\n'))
    assert found.to_pydict() == {"a": ["1,2"], "b": ['say "yes"\nor no']}


def test_a_header_may_have_line_breaks(tmp_path: Path) -> None:
    source = written(tmp_path, b'"a\nunit",b\n1,x\n2\n')
    assert columns_of(source) == ("a\nunit", "b")
    with pytest.raises(InputError, match="row 1 has 1 cells"):
        read(source)


def test_pictures_have_the_columns_that_models_of_them_know(tmp_path: Path) -> None:
    x = np.arange(2 * 5 * 5 * 3, dtype=np.uint8).reshape(2, 5, 5, 3)
    np.save(tmp_path / "t.npy", x)
    found = read(str(tmp_path / "t.npy"))
    np.testing.assert_array_equal(
        np.stack([found[name] for name in found.column_names], 1), load(str(tmp_path / "t.npy")).x
    )


def test_a_first_line_of_numbers_is_a_row(tmp_path: Path) -> None:
    assert read(written(tmp_path, b"1,2\n3,4\n")).to_pydict() == {"x0": ["1", "3"], "x1": ["2", "4"]}
    pandas = written(tmp_path, b",0,1\n0,5.5,6\n1,5,6.5\n", "pandas.csv")
    assert read(pandas).column_names == list(load(pandas).columns) == ["", "0", "1"]


def test_decimal_commas_count_where_semicolons_separate(tmp_path: Path) -> None:
    found = read(written(tmp_path, b"a;b\n1,5;Doe, Jane\n-2,25;x\n"))
    assert found.to_pydict() == {"a": ["1.5", "-2.25"], "b": ["Doe, Jane", "x"]}
    found = read(written(tmp_path, b"a;b\n1.234,5;1.234\n-12.345.678,0;31.05.2024\n12,5%;1.5,5\n"))
    assert found.to_pydict() == {
        "a": ["1234.5", "-12345678.0", "12.5%"],
        "b": ["1.234", "31.05.2024", "1.5,5"],
    }


def test_commas_group_digits_by_three_where_they_are_no_decimals(tmp_path: Path) -> None:
    cells = [
        "1,234.50",
        "-12,345",
        "1,234,567.",
        "999",
        "0,123",
        "1,23",
        "12,3456",
        "1,234 EUR",
        "late, again",
    ]
    rows = "a\tb\n" + "".join(f'"{cell}"\t{i}\n' for i, cell in enumerate(cells))
    wanted = ["1234.50", "-12345", "1234567.", *cells[3:7], "1234 EUR", cells[8]]
    assert read(written(tmp_path, rows.encode())).to_pydict()["a"] == wanted
    assert read(written(tmp_path, b'a;b\n"1,234";x\n')).to_pydict()["a"] == ["1.234"]


BAD = {
    b"a,b\n1,2\n\n3,4\n": "line 3 is blank, expected a row",
    b"1,2\r\n\r\n3,4\r\n": "line 2 is blank",
    b'a,b\n\n"1\n\n",2\n': "line 2 is blank",
    b"": "is empty",
    b"\n\n": "is empty",
    b"a,b\n": "has 0 rows",
    b"a,b\n1,2\n3\n": "row 1 has 1 cells, expected 2",
    b"1,2\n3,4\n5,6,7\n": "row 2 has 3 cells, expected 2",
    b"a,b\n1,2\n3,\xe9\n": "line 3 has the byte 0xe9, expected UTF-8",
    b"\xe9,b\n1,2\n": "line 1 has the byte 0xe9",
    b"a,b\n1,2\n3,\x004\n": "line 3 has a NUL byte",
    b"a,a\n1,2\n": "has the column 'a' twice",
    b'a,b\n1,"2\n3,4\n': "has a quote that is never closed",
    ",".join(f"c{i}" for i in range(100_000)).encode()
    + b"\n": "has 100,000 columns, expected at most 10,000",
}


@pytest.mark.parametrize("content", BAD, ids=lambda content: content[:20].decode("latin-1"))
def test_broken_csv_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError) as error:
        read(written(tmp_path, content))
    assert BAD[content] in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"a,b\n", b"a,b\n1,2\n3,4,5\n1,2\n", b"a,b\n1,2\n"])
def test_nothing_holds_a_file_that_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    found: list[weakref.ref] = []

    class Noted(delimited._Watched):
        def __init__(self, *args, **more) -> None:
            super().__init__(*args, **more)
            found.append(weakref.ref(self))

    monkeypatch.setattr(delimited, "_Watched", Noted)
    for _ in range(50):
        with suppress(InputError):
            read(written(tmp_path, content))
    assert len(found) == 50
    assert not any(file() for file in found)


def test_the_row_of_an_error_counts_over_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "BYTES", 1_000)
    lines = [f"{i},{i}" for i in range(5_000)]
    lines[4_321] = "1"
    source = written(tmp_path, ("a,b\n" + "\n".join(lines)).encode())
    with pytest.raises(InputError, match="row 4321 has 1 cells"):
        read(source)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.arrow", "t.npy", "t.npz", "t.csv.gz"])
def test_folders_missing_and_broken_files_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read(str(tmp_path / name))
    with pytest.raises(InputError, match=r"cannot be read|a NUL|0 rows"):
        read(written(tmp_path, b"\x00\x01broken", name))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).mkdir()
    with pytest.raises(InputError, match=r"is a folder|has no pictures"):
        read(str(tmp_path / "folder" / name))


def sources(tmp_path: Path, rows: int) -> list[str]:
    from pyarrow import csv, ipc, parquet

    table = pa.table({"a": np.arange(rows), "b": np.arange(rows) * 0.5})
    csv.write_csv(table, tmp_path / "t.csv")
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=1_000)
    with ipc.new_file(tmp_path / "t.arrow", table.schema) as file:
        for batch in table.to_batches(max_chunksize=777):
            file.write_batch(batch)
    np.savez(tmp_path / "t.npz", x=np.stack([np.arange(rows), np.arange(rows) * 0.5], 1))
    return [str(tmp_path / name) for name in ("t.csv", "t.parquet", "t.arrow", "t.npz")]


def test_blocks_begin_at_the_same_rows_wherever_one_starts(tmp_path: Path) -> None:
    rows = 2 * reader.BLOCK + 100
    for source in sources(tmp_path, rows):
        whole = {first: block for first, block in blocks(source)}
        assert {first: len(block) for first, block in whole.items()} == {
            0: reader.BLOCK,
            reader.BLOCK: reader.BLOCK,
            2 * reader.BLOCK: 100,
        }
        for start, stop in ((0, 1), (5, 9_000), (reader.BLOCK, None), (rows - 1, rows), (10_000, 10_001)):
            found = list(blocks(source, None, start, stop))
            assert found[0][0] <= start < found[0][0] + len(found[0][1])
            assert all(block.equals(whole[first].cast(block.schema)) for first, block in found)
            assert found[-1][0] + len(found[-1][1]) >= (stop or rows)
        assert list(blocks(source, None, rows + reader.BLOCK)) == []


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    for source in sources(tmp_path, 10):
        first, second = columns_of(source)
        (_, block), *_ = blocks(source, (second, first))
        assert block.column_names == [second, first]
        with pytest.raises(InputError, match="lacks the column 'z'"):
            list(blocks(source, ("z",)))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=("Cs",))),
            min_size=2,
            max_size=2,
        ).filter(lambda row: any(cell for cell in row)),
        min_size=1,
        max_size=8,
    )
)
def test_what_python_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    import csv

    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(["left", "right"])
    writer.writerows(rows)
    source = written(tmp_path_factory.mktemp("csv"), out.getvalue().encode())
    assert read(source).to_pydict() == {"left": [a for a, _ in rows], "right": [b for _, b in rows]}


def surveyed(table: pa.Table, keep: int = 1_000, **more) -> Survey:
    survey = Survey("t.csv", keep, 0, **more)
    survey.add(table)
    return survey


def kinds(**columns: list) -> dict[str, str]:
    schema = surveyed(pa.table(columns)).schema()
    return {column.name: column.kind for column in schema.columns}


def test_kinds_are_found_by_the_stated_rules() -> None:
    many = [f"id{i}" for i in range(60)]
    assert kinds(
        number=["1", "", "2.5"] * 20,
        word=["x", "y", "NA"] * 20,
        date=["2024-01-01", "", "2024-01-02 10:00"] * 20,
        nothing=["", "NaN", "null"] * 20,
        name=many,
        typed=[1.0, None, 2.0] * 20,
        mixed=["a", "b", "3"] * 20,
    ) == {
        "number": "numeric",
        "word": "category",
        "date": "date",
        "nothing": "numeric",
        "name": "left out",
        "typed": "numeric",
        "mixed": "category",
    }


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (list(range(100, 160)), "left out"),
        ([str(60 * i) for i in range(60)], "left out"),  # seconds, read as text
        ([i + (i >= 30) for i in range(60)], "left out"),  # a row was taken out
        (list(range(50)), "numeric"),  # too few to tell
        (list(range(60, 0, -1)), "left out"),
        ([i**2 for i in range(60)], "left out"),  # rows were taken out
        ([*range(59), 3], "numeric"),
        ([20240101 + 100 * (7 * i % 12) + i % 28 for i in range(60)], "left out"),  # days in any order
        ([20241301 + 7 * i % 28 for i in range(60)], "numeric"),  # there is no thirteenth month
        ([*range(59), None], "numeric"),
        ([*map(str, range(10)), *"abcdefghij" * 5], "category"),
    ],
)
@pytest.mark.parametrize("cut", [0, 1, 30])
def test_numbers_that_count_the_rows_of_a_file_are_left_out(cells: list, kind: str, cut: int) -> None:
    table = pa.table({"id": cells})
    survey = Survey("t.csv", 100, 0, counters=True)
    survey.add(table.slice(0, cut))
    survey.add(table.slice(cut))
    assert survey.schema().columns[0].kind == kind


@pytest.mark.parametrize(
    ("cells", "way"), [([i + 0.5 for i in range(60)], "falls"), ([9 - i // 10 for i in range(60)], "rises")]
)
def test_numbers_that_never_turn_are_told_of(cells: list, way: str) -> None:
    survey = Survey("t.csv", 100, 0, counters=True)
    survey.add(pa.table({"v": cells}))
    with pytest.warns(UserWarning, match=rf"column 'v' never {way} from row to row"):
        assert survey.schema().columns[0].kind == "numeric"
    assert kinds(v=cells) == {"v": "numeric"}  # in a table whose columns were named: without a word


@pytest.mark.parametrize(
    "day",
    ["05/{:02}/2024", "{:02}.05.24", "2024-{:02}", "{} May 2024", "May {}, 2024", "{:02}-May-2024 10:00"],
)
def test_dates_that_cannot_be_read_for_sure_are_left_out(day: str) -> None:
    assert kinds(when=[day.format(1 + i % 12) for i in range(60)]) == {"when": "left out"}


def test_times_of_the_day_are_dates() -> None:
    assert kinds(when=[f"{i % 24:02}:15" for i in range(60)]) == {"when": "date"}


def test_a_column_that_counts_is_looked_at_when_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,x\n" + "\n".join(f"{i},{i % 7}" for i in range(80)))
    unnamed, named = of_file(str(path)).schema, of_file(str(path), columns=("id", "x")).schema
    assert [column.kind for column in unnamed.columns] == ["left out", "numeric"]
    assert [column.kind for column in named.columns] == ["numeric", "numeric"]


def test_a_column_mostly_of_numbers_is_refused_at_its_first_word() -> None:
    with pytest.raises(InputError, match=r"column 'a', row 2 is 'x', expected a number .*--categorical"):
        kinds(a=["1", "2", "x"])
    table = pa.table({"a": ["1", "2", "x"]})
    assert surveyed(table, categorical=("a",)).schema().columns[0].kind == "category"


@settings(max_examples=50, deadline=None)
@given(
    cells=st.lists(st.sampled_from(["1", "2.5", "x", "y", "", "2024-01-01"]), min_size=1, max_size=30),
    cut=st.integers(0, 30),
    keep=st.integers(1, 40),
)
def test_a_survey_does_not_depend_on_how_rows_come(cells: list, cut: int, keep: int) -> None:
    table = pa.table({"a": cells, "row": range(len(cells))})
    whole, parts = surveyed(table, keep), Survey("t.csv", keep, 0)
    parts.add(table.slice(0, cut))
    parts.add(table.slice(cut))
    assert parts.sample().equals(whole.sample())
    assert len(whole.sample()) == min(keep, len(cells))

    def schema(survey: Survey) -> object:
        try:
            return survey.schema()
        except InputError as error:
            return str(error)

    assert schema(parts) == schema(whole)


def test_a_sample_is_fair() -> None:
    table = pa.table({"row": np.arange(1_000.0)})
    counts = np.zeros(1_000)
    for seed in range(200):
        survey = Survey("t", 100, seed)
        for start in range(0, 1_000, 90):
            survey.add(table.slice(start, 90))
        counts[survey.sample()["row"].to_numpy().astype(int)] += 1
    assert counts.sum() == 200 * 100
    for tenth in counts.reshape(10, 100).sum(1):
        assert tenth == pytest.approx(2_000, abs=5 * np.sqrt(2_000))
