"""A table is what was written, or is refused in one line."""

import pytest

from oneshot import tables
from oneshot.errors import BAD_DATA, MISSING_INPUT, OneshotError
from oneshot.tables import read_csv, read_json, write_csv, write_json


def test_what_was_written_is_read(tmp_path):
    write_csv(tmp_path / "a.csv", ("name", "value"), [{"name": "x, y", "value": 1.5}, {"name": "", "value": None}])
    assert read_csv(tmp_path / "a.csv") == [{"name": "x, y", "value": "1.5"}, {"name": "", "value": ""}]
    write_json(tmp_path / "a.json", {"a": [1, {"b": None}]})
    assert read_json(tmp_path / "a.json") == {"a": [1, {"b": None}]}


CSV = {
    "empty": "",
    "short row": "a,b\n1\n",
    "long row": "a,b\n1,2,3\n",
    "endless field": "a,b\n1," + "x" * 200_000 + "\n",
    "open quote": 'a,b\n1,"2\n',
}
JSON = {
    "empty": "",
    "cut": '{"a": 1',
    "list": "[1]",
    "not a number": '{"a": NaN}',
    "infinite": '{"a": -Infinity}',
    "deep": "[" * 100_000,
    "huge integer": '{"a": ' + "9" * 5000 + "}",
    "not text": b'{"a": "\xff"}',
}


@pytest.mark.parametrize(
    ("read", "content"),
    [(read_csv, each) for each in CSV.values()] + [(read_json, each) for each in JSON.values()],
    ids=[*CSV, *(f"json {name}" for name in JSON)],
)
def test_damaged_table_is_told_in_one_line(read, content, tmp_path):
    path = tmp_path / "table"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(OneshotError, match="damaged") as error:
        read(path)
    assert error.value.exit_code == BAD_DATA and "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize("read", [read_csv, read_json])
def test_table_is_refused_by_its_size_before_it_is_read(read, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "LARGEST", 9)
    (tmp_path / "table").write_text('{"a": 1}  ')
    with pytest.raises(OneshotError, match="more than 9 bytes"):
        read(tmp_path / "table")


@pytest.mark.parametrize("read", [read_csv, read_json])
def test_missing_table_says_who_writes_it(read, tmp_path):
    with pytest.raises(OneshotError, match="an earlier stage writes it") as error:
        read(tmp_path / "table")
    assert error.value.exit_code == MISSING_INPUT
