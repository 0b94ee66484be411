"""Calls whose answers are wanted in a form, without botocore's machinery around them.

Of the CPU that a call of aiobotocore takes beside its answer, nearly all goes into checking and serializing the request by the service's
description, into endpoint rules and into event hooks, for a request that is plain JSON and always goes to the same place. Here it is
encoded, signed and sent, and nothing else. Credentials and their renewal, the endpoint, and the reading of every error stay botocore's.
"""

import os
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiobotocore.parsers import AioJSONParser
from aiobotocore.session import AioSession
from botocore.compat import get_current_datetime
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.httpsession import create_urllib3_context, get_cert_path
from botocore.utils import get_environ_proxies

from dagy_control.adapters.calls import note_request_id
from dagy_control.adapters.hot_answers import HTTP_NO_SUCCESS, AnswerForm, refuse_no_json, wanted_form
from dagy_control.adapters.signature import Credentials, Place, signed_headers

KEEPALIVE_S = 12.0
"""As long as aiobotocore keeps an idle connection (`aiobotocore._constants`)."""

READ_AHEAD_BYTES = 1024 * 1024
"""More than an answer of DescribeTasks has: reading it is not stopped and begun again, as it is every 128 KiB by default."""


def can_be_lean(client: Any) -> bool:  # noqa: ANN401 - any service's client
    """Whether the calls of this client go straight to the root of an endpoint: those through a proxy stay aiobotocore's."""
    url = client.meta.endpoint_url
    return urlsplit(url).path in ("", "/") and not get_environ_proxies(url)


class LeanClient:
    """A client of a service that speaks JSON. Calls without a wanted form are those of the client that it stands for."""

    def __init__(self, session: AioSession, client: Any, config: Any) -> None:  # noqa: ANN401 - any client, an AioConfig
        self._session = session
        self._client = client
        self._service = client.meta.service_model
        self._url = client.meta.endpoint_url.rstrip("/") + "/"
        self._place = Place(self._service.signing_name, client.meta.region_name, urlsplit(self._url).netloc)
        self._content_type = f"application/x-amz-json-{self._service.metadata['jsonVersion']}"
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=config.max_pool_connections, keepalive_timeout=KEEPALIVE_S, ssl=_tls(session)
            ),
            timeout=aiohttp.ClientTimeout(sock_connect=config.connect_timeout, sock_read=config.read_timeout),
            headers={"User-Agent": client.meta.config.user_agent, "Accept-Encoding": "identity"},
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=READ_AHEAD_BYTES,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the client has
        own = getattr(self._client, name)
        operation = self._client.meta.method_to_api_mapping.get(name)
        found = own if operation is None else self._method(operation, own)
        setattr(self, name, found)
        return found

    def _method(self, operation: str, own: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(**request: Any) -> Any:  # noqa: ANN401 - the operation's own parameters
            form = wanted_form(operation)
            return await own(**request) if form is None else await self._call(form, request)

        return call

    async def _call(self, form: AnswerForm, request: dict[str, Any]) -> dict[str, Any]:
        body = msgspec.json.encode(request)
        headers = signed_headers(
            self._place,
            await self._credentials(),
            target=f"{self._service.metadata['targetPrefix']}.{form.operation}",
            content_type=self._content_type,
            body=body,
            at=get_current_datetime().strftime("%Y%m%dT%H%M%SZ"),
        )
        async with self._http.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
            answer = await response.read()
        note_request_id(response.headers)
        if response.status >= HTTP_NO_SUCCESS:
            raise await self._refusal(form.operation, response, answer)
        return form.decode(answer)

    async def _credentials(self) -> Credentials:
        """The session's own, renewed when they are about to expire."""
        found = await self._session.get_credentials()
        if found is None:
            raise NoCredentialsError
        frozen = await found.get_frozen_credentials()
        return Credentials(frozen.access_key or "", frozen.secret_key or "", frozen.token or "")

    async def _refusal(self, operation: str, response: aiohttp.ClientResponse, body: bytes) -> ClientError:
        """The error as the client itself would have raised it (`AioEndpoint._add_modeled_error_fields`, `AioBaseClient`)."""
        refuse_no_json(body)
        shown = {
            "status_code": response.status,
            "headers": {name.lower(): value for name, value in response.headers.items()},
            "body": body,
            "context": {"operation_name": operation},
        }
        parser = AioJSONParser()
        parsed = await parser.parse(shown, self._service.operation_model(operation).output_shape)
        code = parsed.get("Error", {}).get("Code")
        shape = self._service.shape_for_error_code(code)
        if shape is not None:
            parsed.update(await parser.parse(shown, shape))
        error: ClientError = self._client.exceptions.from_code(code)(parsed, operation)
        return error


def _tls(session: AioSession) -> Any:  # noqa: ANN401 - urllib3's context, which botocore uses
    """Certificates are verified as botocore does it: AWS_CA_BUNDLE or the profile's ca_bundle, REQUESTS_CA_BUNDLE, its own."""
    context = create_urllib3_context()
    verify: Any = session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE") or True
    context.load_verify_locations(get_cert_path(verify))
    return context
