"""Answers that come by the hundred thousand, decoded by msgspec straight into the few fields that are read of them.

botocore walks over every member that the service's description names: four fifths of a DescribeTasks' CPU. Its public hook against
that is the session's component `response_parser_factory` (botocore's pull request 386, "Add support for customizing response
parsing behavior"; aiobotocore asks it for a parser by protocol, `AioEndpoint._do_get_response`). Ours takes over a successful answer,
and only where the caller has said in which form it wants it. Every other answer, and every error, is parsed by botocore.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import msgspec
from aiobotocore.parsers import AioJSONParser, AioResponseParserFactory
from botocore.parsers import ResponseParserError
from typing_extensions import override

from dagy_control.adapters.attributes import UNREADABLE, UnreadableRecord

JSON_PROTOCOL = "json"
"""What botocore calls the protocol of DynamoDB, ECS and SQS."""
QUERY_PROTOCOL = "query"
"""And that of SNS."""

HTTP_NO_SUCCESS = 300

LeftOut = Callable[[Any, str], None]
"""Is told of a piece that cannot be read: the piece as plain data, and why."""


class AnswerForm:
    """The form in which a caller wants an operation's answer.

    `answer` is a TypedDict of the members that are read: botocore wants a dict of every answer. Members that it does not name are
    skipped. `pieces` names its member that is a list of many things, `piece` their struct.

    An answer as AWS writes it is decoded in one go. One with anything else in it is read once more, piece by piece: a null is as if
    absent, as for botocore; `mend` makes of a piece what it should have been (raising one of `UNREADABLE` when it cannot); a piece that
    still cannot be read is left out, told to `left_out`, and spoils none of the others.
    """

    def __init__(
        self,
        operation: str,
        answer: Any,  # noqa: ANN401 - a TypedDict's class has no type of its own
        *,
        pieces: str = "",
        piece: type[msgspec.Struct] = msgspec.Struct,
        mend: Callable[[Any], Any] = lambda piece: piece,
        left_out: LeftOut = lambda _piece, _problem: None,
    ) -> None:
        self.operation = operation
        self._answer = answer
        self._pieces = pieces
        self._piece = piece
        self._mend = mend
        self._left_out = left_out
        # Not strict: DynamoDB's numbers are text, ECS's times are epoch seconds in answers and text in events.
        self._decoder: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(answer, strict=False)

    def decode(self, body: bytes) -> dict[str, Any]:
        """The answer of this body. Raises `ResponseParserError` for a body that is no such answer (a proxy's page, half an answer)."""
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError:
            return self.of(msgspec.json.decode(body))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ResponseParserError(f"the answer is not JSON ({error}): {body[:80]!r}") from error

    def of(self, members: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
        """The same from plain data, piece by piece. Raises `ResponseParserError` for data that is no such answer."""
        members = without_nulls(members)
        try:
            if isinstance(members, dict) and isinstance(members.get(self._pieces), list):
                members = {**members, self._pieces: list(self._readable(members[self._pieces]))}
            answer: dict[str, Any] = msgspec.convert(members, self._answer, strict=False)
        except msgspec.ValidationError as error:
            raise ResponseParserError(f"the answer is no answer of {self.operation}: {error}") from error
        return answer

    def _readable(self, pieces: Iterable[Any]) -> Iterator[Any]:
        for piece in pieces:
            try:
                mended = self._mend(piece)
                msgspec.convert(mended, self._piece, strict=False)
            except (UnreadableRecord, *UNREADABLE) as error:  # msgspec's ValidationError is a ValueError
                self._left_out(piece, str(error))
            else:
                yield mended


def without_nulls(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The value, in which a null member is as if absent."""
    match value:
        case dict():
            return {name: without_nulls(each) for name, each in value.items() if each is not None}
        case list():
            return [without_nulls(each) for each in value]
        case _:
            return value


_ROOT = re.compile(rb"\s*(?:<\?xml[^>]*\?>\s*)?<([A-Za-z]+)[\s>/]")

_wanted: ContextVar[AnswerForm | None] = ContextVar("_wanted", default=None)


@contextmanager
def answered_as(form: AnswerForm) -> Iterator[None]:
    """Around exactly one call: its answer is wanted in this form."""
    token = _wanted.set(form)
    try:
        yield
    finally:
        _wanted.reset(token)


def wanted_form(operation: str) -> AnswerForm | None:
    """The form in which the answer to the call under way is wanted; None: as botocore gives it."""
    form = _wanted.get()
    return form if form is not None and form.operation == operation else None


def refuse_no_json(body: bytes) -> None:
    """Raises `ResponseParserError` for a body that is no JSON object.

    botocore itself takes such a body for the answer `{"message": body}` (`parsers.BaseJSONParser._parse_body_as_json`): a page that a
    proxy puts in the place of AWS's answer would then be a GetItem that found nothing, or a write that succeeded.
    """
    if body and not body.lstrip().startswith(b"{"):
        raise ResponseParserError(f"the answer is not JSON: {body[:80]!r}")


def refuse_no_xml_of(operation: str, body: bytes) -> None:
    """Raises `ResponseParserError` for a body whose root is neither the operation's answer nor an error.

    botocore looks for the result in whatever root there is (`parsers.QueryParser`): a proxy's page would be a KeyError, or a refusal
    without a code.
    """
    root = _ROOT.match(body)
    if root is None or root[1].decode() not in (f"{operation}Response", "ErrorResponse"):
        raise ResponseParserError(f"the answer is no answer of {operation}: {body[:80]!r}")


class HotAnswerParsers(AioResponseParserFactory):
    """For `session.register_component("response_parser_factory", …)`."""

    def __init__(self) -> None:
        super().__init__()
        self._json = _Parser()

    @override
    def create_parser(self, protocol_name: str) -> Any:
        return self._json if protocol_name == JSON_PROTOCOL else super().create_parser(protocol_name)


class _Parser(AioJSONParser):
    """botocore's parser of JSON answers, but for successful ones that are wanted in a form."""

    @override
    async def parse(self, response: Any, shape: Any) -> Any:
        form, status = wanted_form(response["context"]["operation_name"]), response["status_code"]
        if form is None or status >= HTTP_NO_SUCCESS:
            return await super().parse(response, shape)
        metadata = {"HTTPStatusCode": status, "HTTPHeaders": response["headers"]}
        return {**form.decode(response["body"]), "ResponseMetadata": metadata}
