"""Text that is strange: by hand, in made logs, in files however they are cut, and beside other columns."""

import gzip
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv

from anomaly import delimited, language
from anomaly.detector import Detector
from anomaly.explain import reasons
from anomaly.language import Foretold, Language, expected, foretold
from anomaly.oddity import kept, oddity, read
from anomaly.reader import read as read_file
from anomaly.sample import Sample, of_file
from anomaly.schema import Survey
from anomaly.text import Text, excess
from anomaly.text_members import TextGlance
from anomaly.tokens import SHAPES, Vocabulary, tokens
from tests.scores import blocks_seen, scored
from training.checkpoint import load_model, save_model
from training.errors import InputError

NAMES = ("anna", "bert", "cora", "dora", "emil", "fred", "gina", "hans")
STRANGE = {
    "other order": "user logged anna in from 10.0.0.3 port 4711",
    "unseen": "kernel panic while flushing inode table",
    "unseen word": "session of anna exploded after 12 seconds",
    "repeats": "job 17 done done done done done done done done with code 0",
    "another kind": "session of anna closed after 3fa9c1d2 seconds",
    "size": "session of anna closed after 12345678 seconds",
    "another code": "job 17 done with code 139",
    "ends early": "session of anna closed after",
    "nul": "job 17 done \0 with code 0",
    "emoji": "session of anna 😀 after 12 seconds",
}


def line(rng: np.random.Generator) -> str:
    name = rng.choice(NAMES) + rng.choice(["", "x", "y", "z"]) * int(rng.integers(0, 3))
    return [
        f"user {name} logged in from 10.0.0.{rng.integers(256)} port {rng.integers(1000, 9999)}",
        f"session of {name} closed after {rng.integers(1, 100)} seconds",
        f"job {rng.integers(1000)} done with code 0",
    ][rng.integers(3)]


def lines(seed: int, count: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [line(rng) for _ in range(count)]


@pytest.fixture(scope="module")
def quick() -> None:
    """Models learn in fewer updates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(language, "STEPS", 400)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, quick: None) -> Path:
    """A detector of lines, and lines to score, every fiftieth of them strange."""
    here = tmp_path_factory.mktemp("text")
    (here / "app.log").write_text("\n".join(lines(0, 1_000)))
    Detector.fit(of_file(str(here / "app.log"))).save(here / "model")
    new = lines(1, 300)
    new[5] = ""
    new[::50] = list(STRANGE.values())[:6]
    (here / "new.log").write_text("\n".join(new))
    (here / "new.txt.gz").write_bytes(gzip.compress("\n".join(new).encode()))
    return here


@pytest.fixture(scope="module")
def detector(place: Path) -> Detector:
    return Detector.load(place / "model")


def of_lines(found: list[str]) -> pa.Table:
    return pa.table({"line": found})


def test_page_sums_are_those_of_a_calculation_by_hand() -> None:
    """x − 1 is 1, −2, 3, 2, −1: the sum begins anew where it fell below zero."""
    one = Foretold(
        np.array([3.0, 0.0, 4.5, 3.0, 1.0]),
        np.array([1.0, 1.0, 0.5, 0.0, 1.0]),
    )
    np.testing.assert_allclose(excess(one), [1.0, -1.0, 3.0, 5.0, 4.0])


def test_surprise_and_what_is_usual_are_those_of_the_network() -> None:
    net = Language(4, 0)
    [one] = foretold(net, [(2, 3, 0)])
    with torch.no_grad():
        p = net(torch.tensor([[0], [2], [3]])).softmax(-1)[:, 0]
    np.testing.assert_allclose(one.surprise, -p[[0, 1, 2], [2, 3, 0]].log(), rtol=1e-5)
    np.testing.assert_allclose(one.usual, -(p * p.log()).sum(-1), rtol=1e-5)
    token, most = expected(net, (2, 3, 0))
    np.testing.assert_array_equal(token, p.argmax(-1))
    np.testing.assert_allclose(most, p.amax(-1), rtol=1e-5)


def test_a_rare_word_is_as_likely_as_its_shape_allows() -> None:
    """p(w) + p(<word>) / 4, where one in four words of this shape is w."""
    net, word = Language(len(SHAPES) + 1, 0), len(SHAPES)
    shapes = torch.tensor([*range(len(SHAPES)), SHAPES.index("<word>")])
    spelled = torch.full((len(SHAPES) + 1,), -torch.inf)
    spelled[word] = np.log(0.25)
    [one] = foretold(net, [(word, 0)], spelled, shapes)
    with torch.no_grad():
        p = net(torch.tensor([[0], [word]])).softmax(-1)[:, 0]
    wanted = [-(p[0, word] + p[0, SHAPES.index("<word>")] / 4).log(), -p[1, 0].log()]
    np.testing.assert_allclose(one.surprise, wanted, rtol=1e-5)


@pytest.mark.parametrize("kind", STRANGE)
def test_strange_lines_score_above_all_normal_ones(detector: Detector, kind: str) -> None:
    normal = detector.decision_function(of_lines(lines(2, 500)))
    assert detector.decision_function(of_lines([STRANGE[kind]]))[0] > normal.max()


def test_new_names_of_a_kind_that_was_seen_are_no_news(detector: Detector) -> None:
    new = [f"session of {name} closed after 7 seconds" for name in ("ludwig", "annaxyz", "q", "otto")]
    assert (detector.p_value(of_lines(new)) > 0.01).all()


def test_a_table_of_text_alone_has_one_member_and_no_glance(detector: Detector) -> None:
    assert (detector.kind, [member.kind for member in detector.members]) == ("text", ["text"])
    assert detector.glance is None


def test_a_saved_detector_scores_the_same_bits(place: Path, detector: Detector, tmp_path: Path) -> None:
    detector.save(tmp_path / "model")
    rows = of_lines([*lines(3, 100), "", *STRANGE.values(), "x" * 1_000_000])
    again = Detector.load(tmp_path / "model")
    np.testing.assert_array_equal(again.decision_function(rows), detector.decision_function(rows))


def test_fitting_twice_gives_the_same_bits(place: Path, detector: Detector, quick: None) -> None:
    again = Detector.fit(of_file(str(place / "app.log")))
    np.testing.assert_array_equal(again.calibration, detector.calibration)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("cuts", [(0, 7, 150, 151, 300), (0, 16, 64, 128, 300)])
def test_shards_of_a_log_are_bit_equal_to_the_whole(place: Path, tmp_path: Path, cuts: tuple) -> None:
    whole = scored(place, tmp_path / "whole.parquet", "new.log", explain=1)
    parts = [
        scored(place, tmp_path / f"{start}.parquet", "new.txt.gz", explain=1, start=start, stop=stop)
        for start, stop in pairwise(cuts)
    ]
    assert pa.concat_tables(parts).equals(whole)
    assert whole["anomaly"].to_numpy()[::50].all()
    assert whole["row"].to_pylist() == list(range(300))


@pytest.mark.usefixtures("small_blocks")
def test_a_killed_scoring_of_a_log_goes_on(place: Path, tmp_path: Path) -> None:
    whole = scored(place, tmp_path / "whole.csv", "new.log")
    with blocks_seen(dies_at=160), pytest.raises(KeyboardInterrupt):
        scored(place, tmp_path / "s.csv", "new.log")
    with blocks_seen() as seen:
        assert scored(place, tmp_path / "s.csv", "new.log").equals(whole)
    assert seen[0] == 128


def test_scores_hardly_depend_on_what_stands_beside_a_text(detector: Detector) -> None:
    rows = [*lines(4, 200), *STRANGE.values()]
    alone = np.concatenate([detector.decision_function(of_lines([row])) for row in rows])
    np.testing.assert_allclose(detector.decision_function(of_lines(rows)), alone, rtol=1e-4, atol=1e-4)


def test_a_blank_line_is_a_gap_and_novel_where_none_was(detector: Detector) -> None:
    seen = detector.seen(of_lines(["", "   ", "null", lines(5, 1)[0]]))
    assert seen.novel[:, 0].tolist() == [True, True, False, False]


def test_blank_lines_are_no_news_where_many_were(quick: None) -> None:
    some = lines(6, 400)
    some[::4] = [""] * 100
    found = Detector.fit(_sample(of_lines(some), "line"))
    assert found.p_value(of_lines([""]))[0] > 0.05


def test_lines_that_are_all_equal_make_any_other_strange(quick: None) -> None:
    found = Detector.fit(_sample(of_lines(["all is well"] * 100), "line"), alpha=0.05)
    assert found.predict(of_lines(["all is well", "all is lost", "all is well well"])).tolist() == [0, 1, 1]


def test_three_lines_are_enough(quick: None) -> None:
    found = Detector.fit(_sample(of_lines(["a b", "a b", "a c"]), "line"))
    assert np.isfinite(found.decision_function(of_lines(["a b", "", "😀"]))).all()


@pytest.mark.parametrize(
    ("text", "token", "instead"),
    [
        ("job 17 done with code 139", "139", "0"),
        ("session of anna closed after", "", "<2 digits>"),
        ("session of anna closed after 12345678 seconds", "12345678", "<2 digits>"),
    ],
)
def test_the_strange_token_is_named_with_what_was_expected(
    detector: Detector, text: str, token: str, instead: str
) -> None:
    found = oddity(detector, of_lines([text]), 0, "line")
    assert found is not None
    assert (found.token, found.instead) == (token, instead)
    assert f"»{token}«" in found.where
    assert read(kept(found)) == found.told == f"{instead} instead of {token or 'the end'}"


def test_what_is_told_of_a_text_moves_no_cursor(detector: Detector) -> None:
    found = oddity(detector, of_lines(["job 17 done with \x1b[31m code 0"]), 0, "line")
    assert found is not None
    assert (found.told + found.where).isprintable()


def test_what_is_told_of_a_text_is_cut_between_letters(detector: Detector) -> None:
    found = oddity(detector, of_lines(["job 17 done " + "é" * 200]), 0, "line")
    assert read(kept(found)).endswith("é")


def test_a_file_of_scores_names_the_token(place: Path, tmp_path: Path) -> None:
    found = scored(place, tmp_path / "s.csv", "new.log", explain=1)
    first = {name: found[name][200].as_py() for name in ("column_1", "expected_1")}
    assert first["column_1"] == "line"
    assert first["expected_1"].split(" instead of ")[1] in STRANGE["another kind"]


DAMAGE = {
    "words are twice": (lambda told: told["encoder"]["texts"]["line"].append("job"), "that differ"),
    "words are none": (lambda told: told["encoder"]["texts"].update(line=7), "expected a list"),
    "a word is missing": (lambda told: told["encoder"]["texts"]["line"].pop(), "do not fit a text"),
    "a number is a word": (lambda told: told["encoder"]["texts"]["line"].append(7), "that differ"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_vocabulary_that_does_not_fit_is_refused(place: Path, tmp_path: Path, what: str) -> None:
    weights, told = load_model(place / "model")
    change, said = DAMAGE[what]
    change(told)
    save_model(tmp_path / "model", weights, json.loads(json.dumps(told)))
    with pytest.raises(InputError, match=said):
        Detector.load(tmp_path / "model")


def _sample(table: pa.Table, *text: str) -> Sample:
    survey = Survey("the table", 10_000, 0, text=text)
    survey.add(table)
    return Sample(survey.sample(), survey.schema(), "the table", len(table))


def numbers_and(text: list[str], seed: int) -> pa.Table:
    """Two columns that hang together, a third, an order number, and text."""
    rng = np.random.default_rng(seed)
    a, c = rng.normal(size=(2, len(text)))
    order = [f"{rng.integers(16**8):08x}" for _ in text]
    return pa.table(
        {"a": a, "b": a + 0.1 * rng.normal(size=len(text)), "c": c, "order": order, "message": text}
    )


@pytest.fixture(scope="module")
def mixed(quick: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of numbers and messages."""
    here = tmp_path_factory.mktemp("mixed")
    csv.write_csv(numbers_and(lines(0, 1_600), 0), here / "t.csv")
    Detector.fit(of_file(str(here / "t.csv"), text=("message",))).save(here / "model")
    return here


def test_a_table_has_its_members_and_one_of_text_and_a_glance_at_both(mixed: Path) -> None:
    found = Detector.load(mixed / "model")
    assert isinstance(found.glance, TextGlance)
    assert [member.kind for member in found.members][-2:] == ["forest", "text"]
    assert {c.name: c.kind for c in found.schema.columns}["order"] == "left out"
    assert found.encoder.of_text.sum() == 1


def test_rows_strange_in_their_text_or_in_their_numbers_alone_are_found(mixed: Path) -> None:
    found = Detector.load(mixed / "model")
    normal = numbers_and(lines(7, 400), 7)
    assert found.predict(normal).mean() < 0.03
    text = numbers_and(list(STRANGE.values()), 8)
    assert found.predict(text).mean() > 0.9
    numbers = numbers_and(lines(9, 20), 9)
    numbers = numbers.set_column(1, "b", pa.array(-numbers["a"].to_numpy() + 4.0))
    assert found.predict(numbers).mean() > 0.9
    seen = found.seen(text)
    why = reasons(found, seen.x[1], seen.novel[1])
    assert why[0].column == "message"


def test_a_glance_clears_no_row_that_is_strange_in_its_text(mixed: Path) -> None:
    found = Detector.load(mixed / "model")
    assert found.glance is not None
    seen = found.seen(numbers_and(list(STRANGE.values()), 8))
    assert (found.glance(seen.x) > found.glance.limit).all()
    usual = found.seen(numbers_and(lines(7, 400), 7))
    assert (found.glance(usual.x) > found.glance.limit).mean() < 0.15


def test_identifiers_names_and_sentences_are_no_text_unless_named(tmp_path: Path) -> None:
    table = numbers_and(lines(0, 200), 0).append_column(
        "name", pa.array([f"Ms Ann B{i} Lee" for i in range(200)])
    )
    csv.write_csv(table, tmp_path / "t.csv")
    kinds = {column.name: column.kind for column in of_file(str(tmp_path / "t.csv")).schema.columns}
    assert (kinds["order"], kinds["name"], kinds["message"]) == ("left out",) * 3


def test_a_column_cannot_be_text_and_categorical(tmp_path: Path) -> None:
    csv.write_csv(numbers_and(lines(0, 9), 0), tmp_path / "t.csv")
    with pytest.raises(InputError, match="'message' is named as text and as categorical"):
        of_file(str(tmp_path / "t.csv"), categorical=("message",), text=("message",))
    with pytest.raises(InputError, match="lacks the column 'z'"):
        of_file(str(tmp_path / "t.csv"), text=("z",))


@pytest.mark.parametrize("detector_kind", ["vae", "memory"])
def test_detectors_of_numbers_refuse_text_alone(detector_kind: str, quick: None) -> None:
    with pytest.raises(InputError, match=f"the detector {detector_kind} reads other columns than text"):
        Detector.fit(_sample(of_lines(lines(0, 30)), "line"), detector_kind)


@pytest.mark.parametrize(("kind", "fast"), [("memory", False), ("auto", True)])
def test_other_detectors_join_text_as_well(kind: str, fast: bool, quick: None, tmp_path: Path) -> None:
    found = Detector.fit(_sample(numbers_and(lines(0, 400), 0), "message"), kind, fast=fast)
    found.save(tmp_path / "model")
    text = numbers_and(list(STRANGE.values()), 8)
    assert found.predict(text).mean() > 0.7
    again = Detector.load(tmp_path / "model")
    np.testing.assert_array_equal(again.decision_function(text), found.decision_function(text))


def test_contaminated_lines_fit_too(quick: None) -> None:
    found = Detector.fit(_sample(of_lines([*lines(0, 300), *STRANGE.values()]), "line"), contaminated=True)
    assert found.about["rows fitted"] < 250
    score = found.decision_function(of_lines([*lines(8, 100), STRANGE["unseen"]]))
    assert score[-1] > np.quantile(score[:-1], 0.95)


LINES = {
    b'a "b c\n1,2;3\t4|5\r\n\nx': ['a "b c', "1,2;3\t4|5", "", "x"],
    b"a\n": ["a"],
    b"a\n\n": ["a"],
    b"a\n\n\n": ["a", ""],
    b"\xef\xbb\xbfa\nb": ["a", "b"],
    b"50 %\r51 %\nb": ["50 %\r51 %", "b"],
    "ü\nb\n".encode("utf-16"): ["ü", "b"],
}


@pytest.mark.parametrize("content", LINES)
def test_every_line_is_a_row_whatever_is_in_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.log").write_bytes(content)
    assert read_file(str(tmp_path / "a.log"))["line"].to_pylist() == LINES[content]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has 0 rows"),
        (b"ok\nb\xff\n", "line 2 has the byte 0xff, expected UTF-8"),
        (b"ok\nb\0c\n", "line 2 has a NUL byte"),
        (bytes(range(256)), "line 1 has a NUL byte"),
        (b"x" * 9_000_000, "a line of more than 4,194,304 letters"),
        (b"a\n" + b"x" * 5_000_000 + b"\nb\n", "a line of more than 4,194,304 letters"),
    ],
)
def test_a_file_of_no_lines_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.log").write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_file(str(tmp_path / "a.log"))


@settings(max_examples=80, deadline=None)
@given(
    cells=st.lists(st.text('aé€漢😀", \t', max_size=20), min_size=1, max_size=30),
    end=st.sampled_from(["\n", "\r\n", "\r\r\n"]),
    size=st.integers(90, 140),
    packed=st.booleans(),
)
def test_lines_are_the_same_wherever_the_file_is_cut(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str], end: str, size: int, packed: bool
) -> None:
    source = tmp_path_factory.mktemp("log") / ("a.log.gz" if packed else "a.log")
    content = end.join([*cells, "last"]).encode()
    source.write_bytes(gzip.compress(content) if packed else content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "BYTES", size)
        assert read_file(str(source))["line"].to_pylist() == [*cells, "last"]


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="cannot be read as text"):
        read_file(str(tmp_path / "a.txt.gz"))


@pytest.mark.parametrize("rows", [5, 19, 21, 40])
def test_few_contaminated_lines_fit(rows: int, quick: None) -> None:
    for seed in range(3):
        found = Detector.fit(_sample(of_lines(lines(0, rows)), "line"), seed=seed, contaminated=True)
        assert np.isfinite(found.decision_function(of_lines(["a"]))).all()


def test_no_rows_have_no_scores(detector: Detector) -> None:
    assert detector.decision_function(of_lines(["a"]).slice(1)).shape == (0,)


def test_texts_of_equal_tokens_score_the_same(quick: None) -> None:
    text = Text.fit(pa.array(lines(0, 200)), 0)
    score = text.score(pa.array(["job 17 done with code 0", "job  42 done with code 0", None, ""]))
    assert score[0] == score[1]
    assert score[2] == score[3]


def test_words_that_nobody_saw_have_numbers_of_shapes() -> None:
    vocabulary = Vocabulary.of(map(tokens, lines(0, 500)))
    unseen = vocabulary.numbers("Zebra 😀 zebra")
    assert [vocabulary.written(number) for number in unseen] == ["<Word>", "<sign>", "<word>", "the end"]
