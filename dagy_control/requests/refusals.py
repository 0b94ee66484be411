"""Why a request is refused."""

from dagy_control.errors import Permanent


class RequestRefused(Permanent):
    """The request cannot be taken as it is; nothing was written. `field` names the argument at fault. HTTP status 400 in the API."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
