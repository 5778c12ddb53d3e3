"""Signatures, nonces, windows, keys, log-ins: whoever is not let in, and that it is written down."""

from __future__ import annotations

import base64
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import argon2
import jwt
import msgspec
import pytest
from tests.unit.order_gateway.fake_desk import JWT_SECRET, PASSWORD, QUICK_HASHER, buy, running_gateway, until

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.credentials import ApiKey, CredentialError, User, why_not_bind
from polaris_synapse.order_gateway.credentials_sqlite import SqliteCredentials
from polaris_synapse.order_gateway.nonces import ReplayCache
from polaris_synapse.order_gateway.passwords import Passwords, hash_password
from polaris_synapse.order_gateway.settings import Budget
from polaris_synapse.web.authentication import Role
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.signing import (
    Algorithm,
    KeyFileError,
    canonical_text,
    new_key,
    read_key_file,
    sign,
    verifier_of,
    verify,
    write_key_file,
)

pytestmark = pytest.mark.anyio

_BODY = msgspec.json.encode(buy())


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_a_signed_request_is_let_in(tmp_path: Path, algorithm: Algorithm) -> None:
    """A right signature of either kind is accepted, with the query as part of what is signed."""
    async with running_gateway(tmp_path) as gateway:
        gateway.add_key("k", Role.TRADER, "main", algorithm=algorithm)
        assert (await gateway.call("k", "POST", "/orders?wait_ms=0", buy())).status_code == 201


@pytest.mark.parametrize("algorithm", list(Algorithm))
@pytest.mark.parametrize(
    "tamper", ["method", "path", "query", "body", "timestamp", "nonce", "signature", "key", "empty", "not ascii"]
)
async def test_whatever_is_altered_breaks_the_signature(tmp_path: Path, algorithm: Algorithm, tamper: str) -> None:
    """Changing any signed part, or the signature, is refused with 401 and audited; nothing reaches risk."""
    async with running_gateway(tmp_path) as gateway:
        gateway.add_key("k", Role.TRADER, "main", algorithm=algorithm)
        method, target, body = "POST", "/orders?wait_ms=0", _BODY
        headers: dict[str, Any] = dict(gateway.headers("k", method, target, body))
        stamp = str(headers["x-polaris-timestamp"])
        if tamper == "method":
            method = "PATCH"
            target = "/orders/5"
        elif tamper == "path":
            target = "/orders/preview?wait_ms=0"
        elif tamper == "query":
            target = "/orders?wait_ms=1"
        elif tamper == "body":
            body = body.replace(b"0.01", b"9.01")
        elif tamper == "timestamp":
            headers["x-polaris-timestamp"] = str(int(stamp) + 1)
        elif tamper == "nonce":
            headers["x-polaris-nonce"] = "0" * 32
        elif tamper == "signature":
            signature = str(headers["x-polaris-signature"])
            headers["x-polaris-signature"] = ("B" if signature[0] != "B" else "C") + signature[1:]
        elif tamper == "key":
            headers["x-polaris-key"] = "trader"
        elif tamper == "empty":
            headers["x-polaris-signature"] = ""
        else:
            headers["x-polaris-signature"] = "é".encode()
        response = await gateway.client.request(method, target, content=body, headers=headers)
        assert (response.status_code, response.json()["reason"]) == (401, "SIGNATURE_INVALID")
        await gateway.service.audit.flush()
        assert gateway.desk.notes[-1].action == "authentication.refused"
        assert gateway.desk.commands == []


@pytest.mark.parametrize(
    "age_ms, accepted",
    [(4_999, True), (5_000, True), (5_001, False), (0, True), (-999, True), (-1_000, False), (10**12, False)],
)
async def test_the_window_is_exact(tmp_path: Path, age_ms: int, accepted: bool) -> None:
    """A timestamp is taken up to 5000 ms old and less than 1000 ms ahead, to the millisecond."""
    async with running_gateway(tmp_path) as gateway:
        gateway.clock.advance(60)
        stamp = gateway.clock.now_ns() // 1_000_000 - age_ms
        headers = gateway.headers("trader", "GET", "/orders", timestamp_ms=stamp)
        response = await gateway.client.get("/orders", headers=headers)
        if accepted:
            assert response.status_code == 200
        else:
            assert (response.status_code, response.json()["reason"]) == (401, "TIMESTAMP_OUTSIDE_WINDOW")


@pytest.mark.parametrize("stamp", ["", "x", "1e3", "-1", "9" * 17, "١٢٣"])
async def test_a_timestamp_is_digits(tmp_path: Path, stamp: str) -> None:
    """Anything but plain digits is refused as a timestamp."""
    async with running_gateway(tmp_path) as gateway:
        headers = gateway.headers("trader", "GET", "/orders") | {"x-polaris-timestamp": stamp}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        response = await gateway.client.get("/orders", headers=raw)
        assert (response.status_code, response.json()["reason"]) == (401, "TIMESTAMP_OUTSIDE_WINDOW")


async def test_a_signed_request_works_once(tmp_path: Path) -> None:
    """The same signed request again is refused, while another key may use the same nonce."""
    async with running_gateway(tmp_path) as gateway:
        headers = gateway.headers("trader", "POST", "/orders", _BODY, nonce="once-only")
        assert (await gateway.client.post("/orders", content=_BODY, headers=headers)).status_code == 201
        again = await gateway.client.post("/orders", content=_BODY, headers=headers)
        assert (again.status_code, again.json()["reason"]) == (401, "NONCE_REUSED")
        other = gateway.headers("stranger", "GET", "/orders", nonce="once-only")
        assert (await gateway.client.get("/orders", headers=other)).status_code == 200


async def test_a_refused_signature_does_not_use_the_nonce_up(tmp_path: Path) -> None:
    """Nobody without the key can burn somebody's nonce."""
    async with running_gateway(tmp_path) as gateway:
        headers = gateway.headers("trader", "GET", "/orders", nonce="my-nonce")
        broken = headers | {"x-polaris-signature": base64.b64encode(b"0" * 64).decode()}
        assert (await gateway.client.get("/orders", headers=broken)).status_code == 401
        assert (await gateway.client.get("/orders", headers=headers)).status_code == 200


@pytest.mark.parametrize("ahead_ms", [0, 500])
async def test_replay_protection_survives_a_restart(tmp_path: Path, ahead_ms: int) -> None:
    """A request captured before a restart is refused after it, also when it was signed ahead of our clock."""
    async with running_gateway(tmp_path, auth_database="auth.sqlite") as gateway:
        stamp = gateway.clock.now_ns() // 1_000_000 + ahead_ms
        headers = gateway.headers("trader", "GET", "/orders", timestamp_ms=stamp)
        assert (await gateway.client.get("/orders", headers=headers)).status_code == 200
        gateway.clock.advance(0.1)
        key, clock = gateway.keys["trader"], gateway.clock
    async with running_gateway(tmp_path, clock=clock, auth_database="auth.sqlite") as restarted:
        stored = restarted.service.credentials.key("trader")
        assert stored is not None
        restarted.service.credentials.put_key(msgspec.structs.replace(stored, verifier=verifier_of(key)))
        response = await restarted.client.get("/orders", headers=headers)
        assert response.status_code == 401
        assert response.json()["reason"] == ("NONCE_REUSED" if ahead_ms else "TIMESTAMP_OUTSIDE_WINDOW")


async def test_a_full_replay_cache_refuses(tmp_path: Path) -> None:
    """When no more nonces can be remembered, nothing new is let in until old ones expire."""
    async with running_gateway(tmp_path, nonces_max=2) as gateway:
        statuses = [(await gateway.call("trader", "GET", "/orders")).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        gateway.clock.advance(7)
        assert (await gateway.call("trader", "GET", "/orders")).status_code == 200


async def test_revoked_and_expired_keys_are_refused(tmp_path: Path) -> None:
    """A key stops working when it is revoked and at the very moment it expires."""
    async with running_gateway(tmp_path) as gateway:
        end = gateway.clock.now_ns() + 10**9
        gateway.add_key("short", Role.TRADER, "main", expires_time_ns=end)
        gateway.add_key("gone", Role.TRADER, "main", revoked=True)
        assert (await gateway.call("short", "GET", "/orders")).status_code == 200
        gateway.clock.advance_to_ns(end)
        for key_id in ("short", "gone"):
            response = await gateway.call(key_id, "GET", "/orders")
            assert (response.status_code, response.json()["reason"]) == (401, "KEY_REVOKED")


@pytest.mark.parametrize("networks, status", [(("127.0.0.0/8",), 200), (("10.0.0.0/8", "::1"), 403), (("junk",), 403)])
async def test_a_key_may_be_bound_to_addresses(tmp_path: Path, networks: tuple[str, ...], status: int) -> None:
    """A key with an allow-list works from those networks only, and a broken list lets nobody in."""
    async with running_gateway(tmp_path) as gateway:
        gateway.add_key("bound", Role.TRADER, "main", addresses=networks)
        response = await gateway.call("bound", "GET", "/orders")
        assert response.status_code == status
        if status == 403:
            assert response.json()["reason"] == "ADDRESS_NOT_ALLOWED"


async def test_no_credentials_or_two_are_refused(tmp_path: Path) -> None:
    """A request says who it is in exactly one way."""
    async with running_gateway(tmp_path) as gateway:
        nobody = await gateway.client.get("/orders")
        assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
        both = gateway.headers("trader", "GET", "/orders") | await gateway.log_in("alice")
        assert (await gateway.client.get("/orders", headers=both)).json()["reason"] == "CONTRADICTORY_FIELDS"
        basic = await gateway.client.get("/orders", headers={"authorization": "Basic YTpi"})
        assert (basic.status_code, basic.json()["reason"]) == (401, "NOT_AUTHENTICATED")
        partial = gateway.headers("trader", "GET", "/orders")
        del partial["x-polaris-nonce"]
        assert (await gateway.client.get("/orders", headers=partial)).json()["reason"] == "NOT_AUTHENTICATED"


async def test_a_login_lasts_until_logout_or_expiry(tmp_path: Path) -> None:
    """A token works until it is logged out, until it expires to the second, and says which it was."""
    async with running_gateway(tmp_path, session_minutes=1) as gateway:
        first, second = await gateway.log_in("alice"), await gateway.log_in("alice")
        assert (await gateway.client.get("/orders", headers=first)).status_code == 200
        assert (await gateway.client.post("/logout", headers=first)).status_code == 200
        gone = await gateway.client.get("/orders", headers=first)
        assert (gone.status_code, gone.json()["reason"]) == (401, "TOKEN_EXPIRED")
        gateway.clock.advance(59)
        assert (await gateway.client.get("/orders", headers=second)).status_code == 200
        gateway.clock.advance(1)
        late = await gateway.client.get("/orders", headers=second)
        assert (late.status_code, late.json()["reason"]) == (401, "TOKEN_EXPIRED")


async def test_a_changed_user_logs_in_again(tmp_path: Path) -> None:
    """A new password, role or a disabled user voids the tokens from before."""
    async with running_gateway(tmp_path) as gateway:
        token = await gateway.log_in("alice")
        gateway.add_user("alice", Role.VIEWER, "main")
        assert (await gateway.client.get("/orders", headers=token)).json()["reason"] == "TOKEN_EXPIRED"
        token = await gateway.log_in("alice")
        stored = gateway.service.credentials.user("alice")
        assert stored is not None
        gateway.service.credentials.put_user(msgspec.structs.replace(stored, disabled=True))
        assert (await gateway.client.get("/orders", headers=token)).status_code == 401
        response = await gateway.client.post("/login", json={"username": "alice", "password": PASSWORD})
        assert (response.status_code, response.json()["reason"]) == (401, "INVALID_CREDENTIALS")


@pytest.mark.parametrize("forgery", ["none", "other secret", "no id", "HS512", "garbage"])
async def test_forged_tokens_are_refused(tmp_path: Path, forgery: str) -> None:
    """Unsigned tokens, other secrets, other algorithms and missing claims are no tokens of ours."""
    async with running_gateway(tmp_path) as gateway:
        now = gateway.clock.now_ns() // 10**9
        claims = {"iss": "polaris-synapse", "sub": "root", "iat": now, "exp": now + 60, "jti": "1", "generation": 0}
        forgeries: dict[str, Callable[[], str]] = {
            "none": lambda: "eyJhbGciOiJub25lIn0." + jwt.encode(claims, JWT_SECRET).split(".")[1] + ".",
            "other secret": lambda: jwt.encode(claims, b"x" * 32, algorithm="HS256"),
            "no id": lambda: jwt.encode(
                {name: value for name, value in claims.items() if name != "jti"}, JWT_SECRET, algorithm="HS256"
            ),
            "HS512": lambda: jwt.encode(claims, JWT_SECRET * 2, algorithm="HS512"),
            "garbage": lambda: "a.b.c",
        }
        token = forgeries[forgery]()
        response = await gateway.client.get("/orders", headers={"authorization": f"Bearer {token}"})
        assert (response.status_code, response.json()["reason"]) == (401, "NOT_AUTHENTICATED")


async def test_wrong_names_and_wrong_passwords_look_alike(tmp_path: Path) -> None:
    """An unknown name does the work of a password check and gets the same answer as a wrong password."""
    async with running_gateway(tmp_path) as gateway:
        answers = []
        for name in ("alice", "nobody"):
            response = await gateway.client.post("/login", json={"username": name, "password": "wrong password"})
            answers.append((response.status_code, response.json()["reason"], response.json()["detail"]))
        assert answers == [(401, "INVALID_CREDENTIALS", "")] * 2
    checked: list[str] = []

    class Watching(argon2.PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
            checked.append(str(hash))
            return super().verify(hash, password)

    passwords = Passwords(Watching(time_cost=1, memory_cost=8, parallelism=1))
    assert not await passwords.matches(None, PASSWORD)
    assert await passwords.matches(QUICK_HASHER.hash(PASSWORD), PASSWORD)
    assert len(checked) == 2


async def test_logins_are_throttled_by_user_and_address(tmp_path: Path) -> None:
    """After five failures from an address a name is held off, right password or not; others can still log in."""
    async with running_gateway(tmp_path) as gateway:
        for _ in range(5):
            response = await gateway.client.post("/login", json={"username": "alice", "password": "wrong password"})
            assert response.status_code == 401
        held = await gateway.client.post("/login", json={"username": "alice", "password": PASSWORD})
        assert (held.status_code, held.json()["reason"]) == (429, "RATE_LIMITED")
        assert int(held.headers["retry-after"]) > 0
        assert await gateway.log_in("root")
        gateway.clock.advance(60)
        assert await gateway.log_in("alice")


async def test_an_address_that_keeps_failing_is_slowed_down(tmp_path: Path) -> None:
    """Failures of authentication have a budget too, and only so many of them are written out."""
    settings: dict[str, Any] = {"failures_of_address": Budget("failures_of_address", 0.1, 3)}
    async with running_gateway(tmp_path, audit_notes_per_address_and_minute_max=2, **settings) as gateway:
        headers = {"authorization": "Bearer nonsense"}
        statuses = [(await gateway.client.get("/orders", headers=headers)).status_code for _ in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        gateway.clock.advance(61)
        await gateway.client.get("/orders", headers=headers)
        await gateway.service.audit.flush()
        actions = [note.action for note in gateway.desk.notes]
        assert actions.count("authentication.refused") == 3
        summary = next(note for note in gateway.desk.notes if note.action == "authentication.refused.more")
        assert summary.detail == "3 more refusals in one minute"


async def test_log_ins_are_audited(tmp_path: Path) -> None:
    """Who logged in, out, and what an administrator changed is written down with the actor."""
    async with running_gateway(tmp_path) as gateway:
        token = await gateway.log_in("root")
        body = {"username": "bob", "password": "a long password", "role": "VIEWER", "accounts": ["main"]}
        assert (await gateway.client.post("/users", json=body, headers=token)).status_code == 200
        assert (await gateway.client.delete("/users/bob", headers=token)).json()["disabled"] is True
        await gateway.client.post("/logout", headers=token)
        await gateway.service.audit.flush()
        assert [(note.actor, note.action) for note in gateway.desk.notes] == [
            ("user:root", "login"),
            ("user:root", "user.set"),
            ("user:root", "user.disabled"),
            ("user:root", "logout"),
        ]


async def test_keys_are_managed_over_the_api(tmp_path: Path) -> None:
    """An administrator adds a public key, its owner signs with it, and revoking ends that at once."""
    async with running_gateway(tmp_path) as gateway:
        token = await gateway.log_in("root")
        key = gateway.keys["laptop"] = new_key("laptop")
        body = {
            "key_id": "laptop",
            "public_key": base64.b64encode(verifier_of(key)).decode(),
            "role": "VIEWER",
            "accounts": ["main"],
        }
        assert (await gateway.client.post("/keys", json=body, headers=token)).status_code == 201
        assert (await gateway.client.post("/keys", json=body, headers=token)).status_code == 400
        assert (await gateway.call("laptop", "GET", "/orders")).status_code == 200
        listed = (await gateway.client.get("/keys", headers=token)).json()["keys"]
        assert "laptop" in [row["key_id"] for row in listed]
        assert "verifier" not in listed[0]
        assert (await gateway.client.delete("/keys/laptop", headers=token)).json()["revoked"] is True
        assert (await gateway.call("laptop", "GET", "/orders")).json()["reason"] == "KEY_REVOKED"


async def test_changes_by_another_process_are_seen(tmp_path: Path) -> None:
    """A user whom the command line adds or disables while the desk runs is known within a check."""
    async with running_gateway(tmp_path, auth_database="auth.sqlite") as gateway:
        with sqlite3.connect(tmp_path / "auth.sqlite") as other:
            other.execute("UPDATE users SET disabled = 1, generation = 9 WHERE name = 'alice'")
        other.close()
        await until(lambda: gateway.clock.sleepers >= 2)
        gateway.clock.advance(1.1)

        def disabled() -> bool:
            found = gateway.service.credentials.user("alice")
            return found is not None and found.disabled

        await until(disabled)


def test_the_store_keeps_what_it_was_given(tmp_path: Path) -> None:
    """Users, keys and revoked tokens survive closing, in a file that only its owner may read."""
    path = tmp_path / "auth.sqlite"
    store = SqliteCredentials(path)
    store.open(now_ns=1)
    stored = store.put_user(User(name="alice", password_hash="h", role=Role.TRADER, accounts=("main",)))
    store.revoke_token("t1", 100)
    store.revoke_token("t2", 1_000)
    store.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = SqliteCredentials(path)
    again.open(now_ns=500)
    assert again.user("alice") == stored
    assert (again.token_revoked("t1"), again.token_revoked("t2")) == (False, True)
    again.close()


def test_whom_another_process_added_is_known_at_once(tmp_path: Path) -> None:
    """A desk that runs need not wait for its next look at the file to let a new user or key in."""
    desk, command = SqliteCredentials(tmp_path / "auth.sqlite"), SqliteCredentials(tmp_path / "auth.sqlite")
    desk.open(now_ns=1)
    command.open(now_ns=1)
    assert desk.user("alice") is None
    assert desk.key("bot") is None
    stored = command.put_user(User(name="alice", password_hash="h", role=Role.TRADER, accounts=("main",)))
    assert desk.user("alice") == stored
    key = ApiKey(
        key_id="bot", algorithm=Algorithm.HMAC_SHA256, verifier=b"s" * 32, role=Role.TRADER, accounts=("main",)
    )
    command.put_key(key)
    assert desk.key("bot") == key
    desk.close()
    command.close()


def test_a_store_of_another_version_is_not_touched(tmp_path: Path) -> None:
    """A file that a later version wrote is refused with one sentence."""
    path = tmp_path / "auth.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(CredentialError, match="version 99"):
        SqliteCredentials(path).open(now_ns=1)


@pytest.mark.parametrize("name", ["", "Alice", "a b", "-a", "a" * 33, "é"])
def test_ill_formed_users_are_not_stored(name: str) -> None:
    """A name outside the pattern is refused by the store itself."""
    store = SqliteCredentials(":memory:")
    store.open(now_ns=1)
    with pytest.raises(CredentialError):
        store.put_user(User(name=name, password_hash="h", role=Role.TRADER, accounts=()))
    store.close()


def test_the_desk_opens_to_the_network_only_with_a_password() -> None:
    """A host beyond this machine takes an enabled user with a password; this machine takes none."""
    store = SqliteCredentials(":memory:")
    store.open(now_ns=1)
    assert why_not_bind("127.0.0.1", store) is None
    assert why_not_bind("::1", store) is None
    assert "polaris user add" in (why_not_bind("0.0.0.0", store) or "")  # noqa: S104  # the case under test
    user = store.put_user(User(name="a", password_hash="h", role=Role.ADMIN, accounts=("*",)))
    assert why_not_bind("192.168.1.5", store) is None
    store.put_user(msgspec.structs.replace(user, disabled=True))
    assert why_not_bind("192.168.1.5", store) is not None
    store.close()


def test_short_passwords_are_refused() -> None:
    """A new password has at least ten characters."""
    with pytest.raises(CredentialError):
        hash_password("too short", QUICK_HASHER)


def test_key_files_are_private(tmp_path: Path) -> None:
    """A key file is written 0600 once, read back equal, and refused when others may read it or it is no key."""
    path = tmp_path / "operator.key.json"
    key = new_key("operator")
    write_key_file(path, key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_key_file(path) == key
    with pytest.raises(FileExistsError):
        write_key_file(path, new_key("operator"))
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        read_key_file(path)
    path.chmod(0o600)
    path.write_text("{}")
    with pytest.raises(KeyFileError, match="not a key file"):
        read_key_file(path)
    with pytest.raises(KeyFileError):
        read_key_file(tmp_path / "missing")


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_secrets_do_not_show(algorithm: Algorithm) -> None:
    """Neither a key nor a user shows its secret in repr."""
    key = new_key("k", algorithm)
    shown = repr(key) + str(key.__rich_repr__())
    assert key.secret.hex() not in shown
    assert repr(key.secret) not in shown
    user = User(name="a", password_hash="$argon2id$secret", role=Role.ADMIN, accounts=())
    assert "argon2" not in repr(user) + str(user.__rich_repr__())


def test_ed25519_matches_the_standards_vector() -> None:
    """Signing follows RFC 8032, so any client library can make our signatures."""
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    key = msgspec.structs.replace(new_key("k"), secret=secret)
    assert verifier_of(key) == public
    assert base64.b64decode(sign(key, b"")).hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065")
    assert verify(Algorithm.ED25519, public, b"", sign(key, b""))


def test_the_canonical_text_is_documented_line_by_line() -> None:
    """Method, target, time, nonce and body hash, one a line."""
    text = canonical_text("POST", "/orders?wait_ms=1", "17", "abcdefgh", b"{}").decode().split("\n")
    assert text[:4] == ["POST", "/orders?wait_ms=1", "17", "abcdefgh"]
    assert text[4] == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_expired_nonces_make_room() -> None:
    """The cache forgets a nonce only when its timestamp could not be accepted any more."""
    store = SqliteCredentials(":memory:")
    store.open(now_ns=0)
    cache = ReplayCache(window_ms=5_000, ahead_ms=1_000, nonces_max=1)
    cache.start(0, store)
    cache.use("k", "n", 1_000, 1_000 * 10**6)
    with pytest.raises(ApiError) as refused:
        cache.use("k", "n", 1_000, 6_000 * 10**6)
    assert refused.value.reason is Reason.NONCE_REUSED
    cache.use("k", "m", 7_500, 7_500 * 10**6)
    store.close()
