"""The tidy table: what is written as CSV comes back, and what is no such table is refused."""

import csv
import dataclasses
import os

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaprobe.analyses.table import COLUMNS, Row, Table
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput

WHOLE = ("seed", "iteration", "step", "task", "inner_steps", "cluster", "n", "other_seed", "other_iteration")
REAL = ("value", "low", "high")
RULES = ("update_rule", "other_update_rule")
TEXT = tuple(name for name in COLUMNS if name not in (*WHOLE, *REAL))

# Any text but half surrogate pairs, which are not UTF-8.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "",
        "NA",
        "nan",
        "None",
        "null",
        "true",
        "1",
        "1e5",
        " a ",
        'a"b',
        '"',
        "a,b",
        "a\nb",
        "a\r\nb",
        "\n",
        "#",
        "é—π✓",
        "\t",
        "\r",
        "a\rb",
        "=1+1",
        "'=1+1",
        "''-1",
        "'tis",
        "+1",
        "-1",
        "@SUM(A1)",
    ]
)
wholes = st.integers(-(2**62), 2**62)
reals = st.floats(allow_nan=False)


def rows():
    kinds = {name: st.none() | wholes for name in WHOLE} | {name: st.none() | reals for name in REAL}
    kinds |= {name: st.none() | texts for name in TEXT}
    kinds["frozen"] = kinds["frozen"].filter(lambda text: text != "none")
    filled = st.text("abc", min_size=1)  # a row has a measure and a status
    return st.builds(Row, **(kinds | {"measure": filled, "status": filled}))


def test_a_layer_called_none_is_refused():
    with pytest.raises(MetaprobeError, match="no layer may be called 'none'"):
        Row(measure="accuracy", value=1.0, frozen="none")


def as_read(row):
    """An empty cell is what does not apply, but in `frozen`, where "" says that nothing was."""
    values = dataclasses.asdict(row)
    return Row(**{k: None if v == "" and k != "frozen" else v for k, v in values.items()})


@settings(max_examples=60, deadline=None)
@given(st.lists(rows(), max_size=4))
def test_every_column_comes_back_from_csv(tmp_path_factory, made):
    path = tmp_path_factory.getbasetemp() / "round-trip.csv"
    Table.of(made).write_csv(path)
    found = Table.read_csv(path)
    assert found == Table.of(as_read(row) for row in made)
    for row, written in zip(found.rows, made, strict=True):
        assert {type(getattr(row, name)) for name in WHOLE} <= {int, type(None)}
        for name in REAL:
            value = getattr(row, name)
            assert value is None or (type(value), str(value)) == (float, str(getattr(written, name)))  # −0.0 stays
    first = path.read_bytes()
    found.write_csv(path)
    assert path.read_bytes() == first


def test_a_row_to_which_freezing_does_not_apply_stays_one(tmp_path):
    table = Table.of([Row(measure="linear_cka", value=1.0, layer="conv1", inner_steps=5)])
    table.write_csv(tmp_path / "t.csv")
    assert Table.read_csv(tmp_path / "t.csv").rows[0].frozen is None


def test_any_reader_of_csv_finds_the_columns_and_full_precision(tmp_path):
    row = Row(
        measure="accuracy", value=0.1 + 0.2, low=1e-300, high=None, n=600, seed=0, frozen="conv1,conv2", reason="a\nb"
    )
    Table.of([row, row]).write_csv(tmp_path / "t.csv")
    with open(tmp_path / "t.csv", encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 2
    assert tuple(found[0]) == COLUMNS
    assert {name: text for name, text in found[0].items() if text} == {
        "measure": "accuracy", "value": "0.30000000000000004", "low": "1e-300", "n": "600", "seed": "0",
        "frozen": "conv1,conv2", "reason": "a\nb", "status": "ok",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "'=1", "''-1"])
def test_no_text_is_a_formula_to_a_spreadsheet_and_each_comes_back(tmp_path, text):
    row = Row(measure=text, value=-1.5, low=-2.0, group=text, reason=text, seed=-3)
    Table.of([row]).write_csv(tmp_path / "t.csv")
    with open(tmp_path / "t.csv", encoding="utf-8", newline="") as file:
        (found,) = csv.DictReader(file)
    assert {found[name] for name in ("measure", "group", "reason")} == {f"'{text}"}
    assert (found["value"], found["low"], found["seed"]) == ("-1.5", "-2.0", "-3")
    assert Table.read_csv(tmp_path / "t.csv").rows == (row,)


@pytest.mark.parametrize("text", ["'tis", "a=1", " =1", "1-2"])
def test_other_text_is_written_as_it_is(tmp_path, text):
    Table.of([Row(measure="m", value=1.0, group=text)]).write_csv(tmp_path / "t.csv")
    assert f",{text}," in (tmp_path / "t.csv").read_text()


def test_tables_of_before_are_read_as_they_were(tmp_path):
    cells = {"measure": "accuracy", "value": "-0.5", "status": "ok", "group": "=1", "view": "'tis", "reason": "-1"}
    (tmp_path / "t.csv").write_text(HEAD + line(**cells), encoding="utf-8-sig")  # as a spreadsheet saves it again
    (row,) = Table.read_csv(tmp_path / "t.csv").rows
    assert (row.value, row.group, row.view, row.reason) == (-0.5, "=1", "'tis", "-1")


@pytest.mark.parametrize("later", [RULES, (*RULES, "over")])
def test_a_table_that_was_written_before_there_was_a_column_is_read(later, tmp_path):
    row = Row(measure="linear_cka", value=0.5, samples="images", layer="head", **dict.fromkeys(later, "task"))
    Table.of([row]).write_csv(tmp_path / "t.csv")
    lines = [line.split(",") for line in (tmp_path / "t.csv").read_text().splitlines()]
    kept = [place for place, name in enumerate(lines[0]) if name not in later]
    (tmp_path / "older.csv").write_text("".join(",".join(cells[place] for place in kept) + "\n" for cells in lines))
    assert Table.read_csv(tmp_path / "t.csv").rows == (row,)
    older = dataclasses.replace(row, **dict.fromkeys(later))
    assert Table.read_csv(tmp_path / "older.csv").rows == (older,)


def test_a_name_that_is_no_utf8_is_written_as_an_escape(tmp_path):
    Table.of([Row(measure="m", value=1.0, group="\udcff")]).write_csv(tmp_path / "t.csv")
    assert Table.read_csv(tmp_path / "t.csv").rows[0].group == "\\udcff"


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(UnreadableInput, match="no regular file"):
        Table.read_csv(tmp_path / "t.csv")


def test_an_empty_table_has_its_columns(tmp_path):
    Table().write_csv(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == ",".join(COLUMNS) + "\n"
    assert Table.read_csv(tmp_path / "t.csv") == Table()
    assert tuple(Table().frame().columns) == COLUMNS
    assert Table().used_columns() == ()


HEAD = ",".join(COLUMNS) + "\n"


def line(**values):
    return ",".join(values.get(name, "") for name in COLUMNS) + "\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "cannot be read as a table"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "cannot be read as a table"),
        (b"name,value\na,1\n", "expected the columns checkpoint, algorithm, .*, source; got name, value$"),
        (("value," + HEAD).encode(), "expected the columns .*; got value, checkpoint"),
        ((HEAD + line(measure="a", value="high")).encode(), "a row does not fit the table: could not convert .*'high'"),
        ((HEAD + line(measure="a", status="ok", value="nan")).encode(), "a row .*: its value is 'nan', expected a num"),
        ((HEAD + line(measure="a", status="ok")[:-1] + ",more\n").encode(), "a row does not fit the table"),
        ((HEAD + '"' + line(measure="a", status="ok")).encode(), "cannot be read as a table"),
        ((HEAD + line(measure="a", n="2.5")).encode(), "a row does not fit the table: .*'2.5'"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused_by_name(tmp_path, content, told):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UnreadableInput, match=rf"t\.csv: {told}"):
        Table.read_csv(tmp_path / "t.csv")


@pytest.mark.parametrize("content", [line(value="1.0", status="ok"), line(measure="a", value="1.0"), "a,b\n"])
def test_a_row_without_measure_or_status_is_refused(tmp_path, content):
    (tmp_path / "t.csv").write_text(HEAD + content)
    with pytest.raises(UnreadableInput, match="a row does not fit the table"):
        Table.read_csv(tmp_path / "t.csv")


def test_no_file_is_told(tmp_path):
    with pytest.raises(UnreadableInput, match=r"none\.csv: cannot be read as a table: .*No such file"):
        Table.read_csv(tmp_path / "none.csv")


def test_used_columns_are_those_with_a_value_and_status_only_where_it_says_something():
    one = Row(measure="accuracy", value=50.0, frozen="", seed=0)
    assert Table.of([one]).used_columns() == ("seed", "frozen", "measure", "value")
    undefined = Row(measure="svcca", value=None, layer="conv1", status="undefined", reason="dead layer")
    both = Table.of([one]) + Table.of([undefined])
    assert both.used_columns() == ("seed", "layer", "frozen", "measure", "value", "status", "reason")
    assert len(both) == 2
    assert both.rows == (one, undefined)


def test_a_frame_has_every_column_with_missing_values_and_whole_numbers():
    frame = Table.of([Row(measure="a", value=1.5, n=3), Row(measure="b", value=None)]).frame()
    assert tuple(frame.columns) == COLUMNS
    assert frame["n"].tolist() == [3, pd.NA]
    assert frame["value"].tolist() == [1.5, pd.NA]
    assert all(frame[name].dtype == "Int64" for name in WHOLE)
    assert all(frame[name].dtype == "Float64" for name in REAL)


def test_tables_add_up_in_order():
    tables = [Table.of([Row(measure=str(i), value=float(i))]) for i in range(4)]
    assert [row.measure for row in sum(tables, Table()).rows] == ["0", "1", "2", "3"]
