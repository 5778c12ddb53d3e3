"""Where the running desk is and how the command proves who it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from polaris_synapse.desk.place import DeskPlace, asks_for_another, default_data_directory, in_turn, running_place

if TYPE_CHECKING:
    import httpx2

_NO_ANSWER = 3
#: Longer than a service waits for its core, so that it is the service that says what is the matter.
_TIMEOUT_SECONDS = 15.0
#: What to type next, by the name of the refusal.
_HINTS = {
    "ACCOUNT_NOT_FOUND": "See which accounts there are: polaris balances",
    "APPROVAL_NOT_FOUND": "See which there are: polaris approvals list --all",
    "CIRCUIT_BREAKER": "See what tripped, and why: polaris breaker",
    "DECISION_NOT_FOUND": "See which there are: polaris decisions",
    "KILL_SWITCH": "See who is stopped: polaris status. A person lets trading go on: polaris resume",
    "ORDER_NOT_FOUND": "See which there are: polaris orders --all",
    "SYMBOL_NOT_FOUND": "See what can be traded: polaris instruments",
}


class CommandError(Exception):
    """What went wrong in one sentence, for a person; ``exit_code`` 1 for a refusal, 3 where no desk answers."""

    def __init__(self, message: str, *, exit_code: int = 1, hint: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.hint = hint


class DeskClient:
    """Signed HTTP requests to the services of one desk. ``directory``: its data, where that is on this machine."""

    def __init__(self, place: DeskPlace, key_file: Path | None, directory: Path | None = None) -> None:
        self.place = place
        self.directory = directory
        self._key_file = key_file

    def get(self, service: str, path: str, **query: object) -> Any:
        """The decoded JSON of a read. Raises CommandError."""
        return self._request(service, "GET", path, query=query)

    def post(self, service: str, path: str, body: object | None = None, **query: object) -> Any:
        """The decoded JSON of a command's answer. Raises CommandError."""
        return self._request(service, "POST", path, body=body, query=query)

    def stop(self, path: str, body: object) -> Any:
        """The decoded JSON of a command to risk that only stops, said again to its next instance while none answers.

        Raises CommandError with exit code 1: where a desk was found there is something to stop.
        """
        problem = ""
        for url in self.place.urls("risk"):
            try:
                return self._request("risk", "POST", path, body=body, base=url)
            except CommandError as error:
                if error.exit_code != _NO_ANSWER:
                    raise
                problem = str(error)
        raise CommandError(problem, hint="So it is not known that anything was stopped.")

    def put(self, service: str, path: str, body: object) -> Any:
        """The decoded JSON of a replacement's answer. Raises CommandError."""
        return self._request(service, "PUT", path, body=body)

    def patch(self, service: str, path: str, body: object) -> Any:
        """The decoded JSON of a change's answer. Raises CommandError."""
        return self._request(service, "PATCH", path, body=body)

    def delete(self, service: str, path: str, **query: object) -> Any:
        """The decoded JSON of a removal's answer. Raises CommandError."""
        return self._request(service, "DELETE", path, query=query)

    def _request(
        self,
        service: str,
        method: str,
        path: str,
        *,
        body: object | None = None,
        query: dict[str, object] | None = None,
        base: str = "",
    ) -> Any:
        import httpx2

        given = {name: str(value) for name, value in (query or {}).items() if value not in (None, "")}
        target = path + ("?" + str(httpx2.QueryParams(given)) if given else "")
        content = b"" if body is None else msgspec.json.encode(body)
        for url in in_turn((base,) if base else self.place.urls(service)):
            response = self._send(method, url, target, content)
            if not asks_for_another(response.status_code, response.headers, response.content):
                break
        return _decoded(response.status_code, response.content)

    def _send(self, method: str, base: str, target: str, content: bytes) -> httpx2.Response:
        import httpx2

        headers = self._signature(method, target, content)
        if content:
            headers["content-type"] = "application/json"
        try:
            return httpx2.request(method, base + target, content=content, headers=headers, timeout=_TIMEOUT_SECONDS)
        except httpx2.ConnectError:
            raise CommandError(
                f"No desk answers at {base}.", exit_code=_NO_ANSWER, hint="Start one with: polaris up"
            ) from None
        except httpx2.TransportError as error:
            raise CommandError(f"The desk did not answer at {base}: {error}.", exit_code=_NO_ANSWER) from None

    def _signature(self, method: str, target: str, content: bytes) -> dict[str, str]:
        from polaris_synapse.web.signing import read_key_file, signed_headers

        if self._key_file is None or not self._key_file.is_file():
            return {}
        return signed_headers(read_key_file(self._key_file), method, target, content)


def connect() -> DeskClient:
    """The desk that runs here, or the one that POLARIS_URL names. Raises CommandError when there is none."""
    directory = Path(os.environ.get("POLARIS_DATA_DIRECTORY") or default_data_directory())
    url = os.environ.get("POLARIS_URL")
    place = DeskPlace.at(url) if url else running_place(directory)
    if place is None:
        raise CommandError("No desk is running here.", exit_code=_NO_ANSWER, hint="Start one with: polaris up")
    key_file = os.environ.get("POLARIS_KEY_FILE")
    return DeskClient(place, Path(key_file) if key_file else place.key_file(directory), None if url else directory)


def _decoded(status: int, content: bytes) -> Any:
    try:
        body = msgspec.json.decode(content) if content else {}
    except msgspec.DecodeError:
        raise CommandError(f"The desk answered with something that is not JSON (HTTP {status}).") from None
    if status < 400:
        return body
    if not isinstance(body, dict) or "reason" not in body:
        raise CommandError(f"The desk answered HTTP {status}.")
    detail = body.get("detail") or body.get("message", "")
    hint = _HINTS.get(body["reason"], "")
    raise CommandError(f"{body['reason']} ({body['code']}): {detail}", hint=hint)
