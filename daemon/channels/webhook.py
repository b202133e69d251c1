"""Posts notices as JSON to an address."""

from typing import Any

import httpx

from actors.notices import Notice
from daemon.channels.outlet import ChannelError
from daemon.channels.words import as_json
from daemon.secrets import Secret


class WebhookChannel:
    """Posts to `url`; redirects are not followed, or the token would go with them."""

    def __init__(self, url: str, run: str, token: Secret | None, timeout_ns: int) -> None:
        self._url = url
        self._run = run
        self._token = token
        self._timeout_s = timeout_ns / 1e9

    async def send(self, notice: Notice) -> None:
        """Post one notice. Raises ChannelError, which names neither address nor token."""
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token.reveal()}"}
        # A client for each: notices are rare, and a connection kept for hours is one that is dead when it is needed.
        async with httpx.AsyncClient(timeout=self._timeout_s, follow_redirects=False, trust_env=False) as client:
            answer = await self._post(client, headers, as_json(notice, self._run))
        if not answer.is_success:
            raise ChannelError(f"status {answer.status_code}")

    async def _post(self, client: httpx.AsyncClient, headers: dict[str, str], told: dict[str, Any]) -> httpx.Response:
        try:
            return await client.post(self._url, json=told, headers=headers)
        except httpx.HTTPError as error:
            raise ChannelError(type(error).__name__) from None
