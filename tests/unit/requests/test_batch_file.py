"""A batch as text: JSON lines or an array, and what is told of a text that is neither."""

import pytest

from dagy_control.model.flow_templates import Json
from dagy_control.requests import batch_file
from dagy_control.requests.batch_file import read_batch
from dagy_control.requests.refusals import RequestRefused


@pytest.mark.parametrize(
    ("content", "items"),
    [
        pytest.param(b'{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}], id="lines"),
        pytest.param(b'{"a": 1}\r\n\r\n  \n{"a": 2}', [{"a": 1}, {"a": 2}], id="blank lines, and no end of the last"),
        pytest.param(b'[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}], id="an array"),
        pytest.param(b'\n [\n{"a": 1},\n\n3]\n', [{"a": 1}, 3], id="an array over lines"),
        pytest.param(b'\xef\xbb\xbf{"a": "\xc3\xa9"}', [{"a": "é"}], id="a byte order mark"),
        pytest.param('{"a": "\u2028\u0085"}'.encode(), [{"a": "\u2028\u0085"}], id="line separators inside a text"),
        pytest.param(b"7\nnull", [7, None], id="no objects: for the batch to judge"),
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"[]", [], id="an empty array"),
    ],
)
def test_orders_are_read_in_their_order(content: bytes, items: list[Json]) -> None:
    assert read_batch(content) == items


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b'{"a": 1}\n{"a": 2\n', "line 2, column 8: ", id="a broken line"),
        pytest.param(b'{"a": 1}\n\n\n{"a" 2}', "line 4, column 6: ", id="a broken line after blank ones"),
        pytest.param(b'[\n{"a": 1},\n{"a": }\n]', "line 3, column 7: ", id="a broken array"),
        pytest.param(b'{\n  "a": 1\n}', "line 1, column 2: ", id="one object over lines"),
        pytest.param(b'{"a": 1} {"a": 2}', "line 1, column 10: Extra data", id="two on a line"),
        pytest.param(b'{"a": 1}\n{"b": 1, "b": 2}', "line 2: the name 'b' stands twice", id="a name twice"),
        pytest.param(b'[{"a":\n {"b": 1, "b": 2}}\n]\n', "lines 1 to 3: the name 'b'", id="a name twice in an array"),
        pytest.param(b'{"a": 1}\n{"a": "\xff"}', "line 2: it is not UTF-8", id="no UTF-8"),
        pytest.param(b"[" * 100_000, "line 1: it cannot be read", id="a deep nest"),
        pytest.param(b"1" * 5000, "line 1: it cannot be read", id="an endless number"),
        pytest.param(b"[1] tail", "line 1, column 5: Extra data", id="an array and more"),
    ],
)
def test_a_text_that_is_no_batch_is_refused_by_its_line(content: bytes, told: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        read_batch(content)
    assert refused.value.field == "batch"
    assert told in str(refused.value)


def test_what_is_no_json_says_what_a_batch_is() -> None:
    with pytest.raises(RequestRefused, match="a batch is one JSON array, or one JSON object a line"):
        read_batch(b"flow_name,org_id\netl,acme\n")


def test_an_endless_text_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_file, "BATCH_FILE_MAX_BYTES", 10)
    with pytest.raises(RequestRefused, match="over 10 bytes"):
        read_batch(b"x" * 11)
