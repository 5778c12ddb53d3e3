"""A running desk from outside: where it is, who asks, and a paper account that lives as long as a check."""

from __future__ import annotations

import os
import secrets
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
from msgspec import Struct

from polaris_synapse.desk.place import (
    DeskPlace,
    asks_for_another,
    default_data_directory,
    in_turn,
    operator_key_file,
    running_place,
)
from polaris_synapse.web.signing import KeyFileError, SigningKey, read_key_file, signed_headers

_REQUEST_SECONDS_MAX: Final = 15.0
#: Between attempts to log in as somebody whom another gateway has made.
_LOG_IN_PAUSES_SECONDS: Final = (1.2, 1.2, 2.4)
#: Paper money for a check's account, in assets that every configuration has: enough for a hundred small orders at the
#: same time, and less than compliance calls a large transaction.
_FUNDS: Final = {"USDT": "45000", "BTC": "0.7"}
#: What would stand in the way is off on the check's own account, so that the deployment is measured and not its limits.
#: The price collar and the age of market data stay.
_LIMITS: Final = dict.fromkeys(
    (
        "order_value_units_max",
        "messages_per_second_max",
        "repeated_orders_max",
        "open_orders_max",
        "position_value_units_max",
        "exposure_units_max",
        "concentration_ppm_max",
        "daily_loss_units_max",
        "drawdown_ppm_max",
    ),
    0,
)
_ACCOUNT_PREFIX: Final = "check-"


class TargetError(RuntimeError):
    """The deployment cannot be checked; the message says why and what to do."""


class RefusedError(RuntimeError):
    """The deployment refused a request that it should have taken."""


class Target:
    """Signed requests to the services of one deployment."""

    def __init__(self, place: DeskPlace, key: SigningKey, tls: ssl.SSLContext | None = None) -> None:
        self.place = place
        self.key = key
        self.tls = tls
        self._client = httpx2.Client(
            timeout=_REQUEST_SECONDS_MAX, verify=tls if tls is not None else True, trust_env=False
        )

    def request(
        self,
        service: str,
        method: str,
        target: str,
        body: object | None = None,
        *,
        headers: dict[str, str] | None = None,
    ) -> httpx2.Response:
        """One request, signed unless ``headers`` are given. Raises TargetError where nobody answers.

        An instance that says that another one has what is asked about is not the last to be asked.
        """
        payload = b"" if body is None else msgspec.json.encode(body)
        for url in in_turn(self.place.urls(service)):
            sent = signed_headers(self.key, method, target, payload) if headers is None else headers
            if payload:
                sent = {"content-type": "application/json"} | sent
            try:
                answer = self._client.request(method, url + target, content=payload, headers=sent)
            except httpx2.TransportError as error:
                raise TargetError(f"{service} does not answer at {url}: {error}") from None
            if not asks_for_another(answer.status_code, answer.headers, answer.content):
                break
        return answer

    def json(self, service: str, method: str, target: str, body: object | None = None) -> Any:
        """The decoded answer. Raises RefusedError for any other answer than success."""
        answer = self.request(service, method, target, body)
        if not answer.is_success:
            raise RefusedError(f"{method} {target}: HTTP {answer.status_code}: {answer.text[:300]}")
        return msgspec.json.decode(answer.content) if answer.content else {}

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()


def find_target(*, url: str = "", key_file: Path | None = None, ca_file: Path | None = None) -> Target:
    """The deployment that ``url`` or POLARIS_URL names, or the desk that runs here, as one process or as services.

    Raises TargetError.
    """
    directory = Path(os.environ.get("POLARIS_DATA_DIRECTORY") or default_data_directory())
    given = url or os.environ.get("POLARIS_URL", "")
    place = DeskPlace.at(given) if given else running_place(directory)
    if place is None:
        raise TargetError("No desk runs here; start one with polaris up, or name one with --url.")
    path = key_file or Path(os.environ.get("POLARIS_KEY_FILE") or operator_key_file(directory))
    try:
        key = read_key_file(path)
    except KeyFileError as error:
        raise TargetError(f"{error} Name another one with --key-file or POLARIS_KEY_FILE.") from None
    tls = None
    if place.scheme == "https":
        tls = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    return Target(place, key, tls)


class PaperAccount(Struct, frozen=True):
    """An account of a check, and users who may trade on it."""

    name: str
    tokens: tuple[str, ...]


@contextmanager
def paper_account(target: Target, *, traders: int) -> Iterator[PaperAccount]:
    """Open a paper account with money and users; afterwards cancel its orders, remove the users and block it.

    Raises TargetError for a desk that trades real money, and RefusedError where a step is refused.
    """
    _refuse_real_money(target)
    name = f"{_ACCOUNT_PREFIX}{secrets.token_hex(4)}"
    users: list[str] = []
    opened = False
    try:
        target.json("compliance", "POST", "/accounts", {"account": name, "holder_name": "Deployment Check"})
        opened = True
        target.json("compliance", "POST", f"/accounts/{name}/kyc", {"state": "APPROVED", "note": "check"})
        for asset, amount in _FUNDS.items():
            _move(target, name, asset, amount)
        target.json("risk", "PATCH", f"/limits/{name}", _LIMITS)
        password = secrets.token_urlsafe(24)
        for number in range(traders):
            user = f"{name}-{number}"
            body = {"username": user, "password": password, "role": "TRADER", "accounts": [name]}
            target.json("gateway", "POST", "/users", body)
            users.append(user)
        yield PaperAccount(name, tuple(_log_in(target, user, password) for user in users))
    finally:
        if opened:
            _clean_up(target, name, users)


def _log_in(target: Target, user: str, password: str) -> str:
    """A token. A gateway that did not make the user itself knows them about a second later."""
    for pause in (*_LOG_IN_PAUSES_SECONDS, 0.0):
        credentials = {"username": user, "password": password}
        answer = target.request("gateway", "POST", "/login", credentials, headers={"accept": "*/*"})
        if answer.is_success:
            return str(msgspec.json.decode(answer.content)["access_token"])
        time.sleep(pause)
    raise RefusedError(f"the check's user could not log in: HTTP {answer.status_code}: {answer.text[:300]}")


def _refuse_real_money(target: Target) -> None:
    venues = target.json("execution", "GET", "/venues")
    if venues["real_trading"]:
        raise TargetError("This desk trades real money; checks place orders, so they run on paper desks only.")


def _move(target: Target, account: str, asset: str, amount: str) -> None:
    body = {"account": account, "asset": asset, "amount": amount, "reference": f"check-{secrets.token_hex(8)}"}
    target.json("gateway", "POST", "/funds", body)


def _clean_up(target: Target, account: str, users: list[str]) -> None:
    """Each step whether or not the ones before it worked; what a desk cannot forget stays blocked."""
    target.request("gateway", "DELETE", f"/orders?account={account}&wait_ms=5000")
    for user in users:
        target.request("gateway", "DELETE", f"/users/{user}")
    target.request("compliance", "POST", f"/accounts/{account}/block", {"blocked": True, "note": "the check has ended"})
