"""What can go wrong with a call to the outside, by what the caller should do about it. Imports nothing.

Adapters turn every library's error into one of these; only the kernel turns them into behaviour: `Transient` backs off,
`Permanent` is counted and not retried, `Conflict` reloads soon, `Gone` is success for a delete.
"""


class DagyError(Exception):
    """Base of every error that this program raises on purpose."""


class Transient(DagyError):
    """It may work later. Whether it was applied is unknown, unless `throttled`.

    `retry_after_s`: the least wait that the other side asked for, in seconds, if any.
    `throttled`: the other side refused for rate; nothing was applied.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, throttled: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.throttled = throttled


class Permanent(DagyError):
    """It will fail again unchanged: bad input, missing permission, missing resource. Nothing was applied.

    `code`: the service's own error code (for AWS, the `Code` of the error), empty when there is none.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Conflict(DagyError):
    """A condition did not hold: somebody else wrote first. Decide again from `current`, the record as it is now, if known."""

    def __init__(self, message: str, *, current: object = None) -> None:
        super().__init__(message)
        self.current = current


class Gone(DagyError):
    """The thing does not exist (any more): success for a delete or a stop."""
