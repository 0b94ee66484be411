"""How a task's result travels to the tasks that take it: as bytes while it is small, as a file of this machine when it is not.

A result is packed where it was made and unpacked only where it is taken, so the worker never makes an object of the user's for
a process task, and a large result passes through the worker's memory in no form at all.
"""

import json
import pickle
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias

from dagy_control.model.flow_tasks import ResultFormat
from dagy_control.model.flow_templates import json_problem

PICKLE_START = b"\x80"
"""The first byte of every pickle since protocol 2; JSON text never begins with it, so a packed result tells its own format."""

SMALL_BYTES_MAX = 1_024
_PLAIN = frozenset({type(None), bool, float, int, str})


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A packed result in a file. `size` in bytes."""

    path: str
    size: int


PackedResult: TypeAlias = bytes | ResultFile


class Packing(NamedTuple):
    """How to pack one result. More than `inline_bytes_max` goes into `file`, more than `bytes_max` nowhere; `why` ends the refusal."""

    format: ResultFormat
    file: str
    inline_bytes_max: int
    bytes_max: int
    why: str = ""


class UnpackableError(Exception):
    """The result cannot be kept. `type` is the error's name for the task run."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.type = kind


def pack(value: object, packing: Packing) -> PackedResult:
    """Pack a result; leaves no file behind when it raises. Raises `UnpackableError`, its cause the user's own exception if any."""
    if packing.format is ResultFormat.PICKLE and packing.inline_bytes_max >= SMALL_BYTES_MAX and _is_small(value):
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    sink = _Sink(packing)
    try:
        if packing.format is ResultFormat.JSON:
            if problem := json_problem(value):
                raise UnpackableError("NotJson", f"is not JSON: {problem}. Return plain data, or use result='pickle'")
            sink.write(json.dumps(value, separators=(",", ":")).encode())
        else:
            pickle.dump(value, sink, protocol=pickle.HIGHEST_PROTOCOL)
        return sink.finish()
    except UnpackableError:
        sink.drop()
        raise
    except OSError as error:
        sink.drop()
        raise UnpackableError("ResultNotStored", f"could not be written to {packing.file}: {error}") from error
    except Exception as error:
        sink.drop()
        hint = "Return plain data; open connections and files inside the task that uses them"
        raise UnpackableError("UnpicklableResult", f"cannot be pickled: {_text(error)}. {hint}") from error


def _is_small(value: object) -> bool:
    """Certainly packed into `SMALL_BYTES_MAX`: for most light tasks the care that a large result needs is the larger cost."""
    if type(value) not in _PLAIN:
        return False  # a subclass may carry anything
    match value:
        case None | bool() | float():
            return True
        case int():
            return value.bit_length() < 4_096
        case str():
            return len(value) < 128
    return False


def unpack(packed: PackedResult) -> object:
    """The value again. Raises what unpickling raises, and `OSError` for a file that is gone."""
    if isinstance(packed, bytes):
        return pickle.loads(packed) if packed.startswith(PICKLE_START) else json.loads(packed)  # noqa: S301 - of this run's own making
    with Path(packed.path).open("rb") as file:
        pickled = file.read(1) == PICKLE_START
        file.seek(0)
        return pickle.load(file) if pickled else json.load(file)  # noqa: S301 - likewise


def discard(packed: PackedResult) -> None:
    """Nobody takes this result: remove its file."""
    if isinstance(packed, ResultFile):
        with suppress(OSError):  # the folder goes with the run
            Path(packed.path).unlink(missing_ok=True)


class _Sink:
    """What a pickler writes to: memory first, the file from the moment that it has become too much."""

    def __init__(self, packing: Packing) -> None:
        self._packing = packing
        self._memory = BytesIO()
        self._file: BinaryIO | None = None
        self._size = 0

    def write(self, data: bytes) -> int:
        """Take some more; a pickler hands over large objects as they are, without a copy."""
        count = memoryview(data).nbytes
        self._size += count
        if self._size > self._packing.bytes_max:
            limit = f"has more than the {self._packing.bytes_max:,} bytes allowed"
            raise UnpackableError(
                "ResultTooLarge", f"{limit}{self._packing.why}. Write it to S3 and return its address"
            )
        if self._file is None and self._size > self._packing.inline_bytes_max:
            self._file = Path(self._packing.file).open("xb")  # noqa: SIM115 - `finish` or `drop` closes it
            self._file.write(self._memory.getbuffer())
        (self._file or self._memory).write(data)
        return count

    def finish(self) -> PackedResult:
        """The packed result; a file is complete and closed."""
        if self._file is None:
            return self._memory.getvalue()
        self._file.close()
        return ResultFile(self._packing.file, self._size)

    def drop(self) -> None:
        """Take back what was written."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            Path(self._packing.file).unlink(missing_ok=True)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - __str__ is user code
        return "(its message cannot be shown)"
