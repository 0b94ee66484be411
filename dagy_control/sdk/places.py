"""Where in the author's own source something was written: the end of every message about it."""

import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FrameType

from typing_extensions import override

_STANDARD_LIBRARY = sysconfig.get_path("stdlib")
_INSTALLED = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
_OWN = ("dagy_control.sdk", "dagy_control.flow_engine")


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a source file."""

    file: str
    line: int

    @override
    def __str__(self) -> str:
        """As editors and terminals make a link of it."""
        return f"{self.file}:{self.line}"


def place_of_call() -> Place | None:
    """The line of the author's code that is running: the innermost that is neither the SDK's, the engine's nor Python's own."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - inspect.stack() reads every source file to say the same
    while frame is not None and not _is_the_authors(frame):
        frame = frame.f_back
    return None if frame is None else Place(frame.f_code.co_filename, frame.f_lineno)


def place_of_error(error: BaseException) -> Place | None:
    """The line of the author's code that raised it, of what the code that caught it has called; None when it is nobody's line."""
    if isinstance(error, SyntaxError):
        return Place(error.filename, error.lineno) if error.filename and error.lineno else None
    place, each = None, error.__traceback__.tb_next if error.__traceback__ else None
    while each is not None:
        if _is_the_authors(each.tb_frame):
            place = Place(each.tb_frame.f_code.co_filename, each.tb_lineno)
        each = each.tb_next
    return place


def place_of_function(function: Callable[..., object]) -> Place | None:
    """Where a function is defined, its first decorator included."""
    code = getattr(function, "__code__", None)
    return Place(code.co_filename, code.co_firstlineno) if isinstance(code, CodeType) else None


def _is_the_authors(frame: FrameType) -> bool:
    if str(frame.f_globals.get("__name__", "")).startswith(_OWN):
        return False
    file = frame.f_code.co_filename
    if file.startswith(_INSTALLED):
        return True  # a flow may be installed; the folder lies inside the standard library's
    return not file.startswith((_STANDARD_LIBRARY, "<frozen"))
