"""The errors of the ECS API, as its wire protocol knows them."""

from typing import Any


class EcsError(Exception):
    """One error answer: `code` becomes `__type`, `extra` are further members of the body, such as `resourceIds`."""

    def __init__(self, code: str, message: str, *, http_status: int = 400, extra: dict[str, Any] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.http_status = http_status
        self.extra = extra or {}

    def body(self) -> dict[str, Any]:
        """The JSON body as ECS sends it (JSON 1.1 protocol)."""
        return {"__type": self.code, "message": self.message, **self.extra}


def invalid(message: str) -> EcsError:
    """InvalidParameterException: a parameter is malformed or names nothing."""
    return EcsError("InvalidParameterException", message)


def client_error(message: str) -> EcsError:
    """ClientException: a refused action, such as an unknown task definition or an impossible size."""
    return EcsError("ClientException", message)


def throttled() -> EcsError:
    """ThrottlingException: a bucket is empty; HTTP 400, nothing was applied."""
    return EcsError("ThrottlingException", "Rate exceeded")


def server_error() -> EcsError:
    """ServerException: HTTP 500; whether it was applied, only the injected fault knows."""
    return EcsError("ServerException", "Service Unavailable. Please try again later.", http_status=500)
