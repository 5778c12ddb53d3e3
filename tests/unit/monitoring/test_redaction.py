"""Secrets are masked by name, by look and by value."""

from __future__ import annotations

import base64
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polaris_synapse.monitoring import redaction
from polaris_synapse.monitoring.redaction import MASK, Redactor, SecretRegistry, TooManySecretsError, is_secret_name

SECRET = 'hünter2 "quoted"\\back'


@pytest.mark.parametrize(
    "name",
    [
        "password", "Passwd", "pass_phrase".replace("_", ""), "client_secret", "SECRET_KEY", "token", "accessToken",
        "api_key", "apiKey", "API-KEY", "X-Api-Key", "authorization", "Proxy-Authorization", "signature", "private_key",
        "credentials", "Set-Cookie", "mnemonic", "jwt", "session_id", "access_key", "signing_key",
    ],
)  # fmt: skip
def test_names_that_say_secret_lose_their_value(name: str) -> None:
    """A field named like a secret is masked at any depth and in any type of value."""
    assert is_secret_name(name)
    redacted = Redactor(SecretRegistry()).value({"outer": [{name: "x1"}, {name: 1234}, {name: {"deep": "x1"}}]})
    assert redacted == {"outer": [{name: MASK}, {name: MASK}, {name: MASK}]}


@pytest.mark.parametrize("name", ["account", "symbol", "client_order_id", "order_id", "key_id", "price", "reason"])
def test_ordinary_names_keep_their_value(name: str) -> None:
    """What people need in logs stays readable."""
    assert Redactor(SecretRegistry()).value({name: "abc-1"}) == {name: "abc-1"}


def test_counts_of_tokens_are_no_secret() -> None:
    """Numbers of a language model's tokens stay; a text in the same place does not."""
    redactor = Redactor(SecretRegistry())
    assert redactor.value({"input_tokens": 512, "tokens": 3}) == {"input_tokens": 512, "tokens": 3}
    assert redactor.value({"tokens": "abc"}) == {"tokens": MASK}


@pytest.mark.parametrize(
    "text",
    [
        "login with password=S3CR3T failed",
        "login with Password: S3CR3T",
        '{"api_key": "S3CR3T", "symbol": "BTC"}',
        "{'client_secret': 'S3CR3T'}",
        '{\\"token\\": \\"S3CR3T\\"}',
        '{"password": "one \\"S3CR3T\\" two"}',
        "Basic: authorization=Basic S3CR3T",
        "GET /order?symbol=BTC&signature=S3CR3T&x=1",
        "Authorization: Bearer S3CR3T",
        "'authorization': 'Basic S3CR3T=='",
        "(b'authorization', b'Bearer S3CR3T')",
        "curl -H bearer S3CR3T.S3CR3T.S3CR3T.S3CR3T",
        "postgresql://desk:S3CR3T@db/orders",
        "redis://:S3CR3T@cache:6379/0",
        "eyJhbGciOiJIUzI1NiJ9.eyJTM0NSM1QiOjF9.S3CR3TS3CR3TS3CR3T",
        "-----BEGIN PRIVATE KEY-----\nS3CR3T\nS3CR3T\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\nS3CR3T cut off",
    ],
)
def test_texts_that_look_like_secrets_are_masked(text: str) -> None:
    """Secrets nobody registered are found by what stands around them."""
    redacted = Redactor(SecretRegistry()).text(text)
    assert "S3CR3T" not in redacted
    assert MASK in redacted


@pytest.mark.parametrize(
    "text",
    [
        "basic configuration loaded from the token list",
        "order 17 filled: BUY 0.01 BTCUSDT at 60000",
        "http://127.0.0.1:8082/orders?symbol=BTCUSDT",
        "audit head 0680908b78cf5d2e98b1336c25bd3c2a683199d962b399b9a7f7d570bd3f9cb6",
        "the bearer of bad news",
    ],
)
def test_ordinary_texts_are_left_alone(text: str) -> None:
    """Masking does not eat what people need."""
    assert Redactor(SecretRegistry()).text(text) == text


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        repr(SECRET),
        repr(SECRET.encode()),
        quote(SECRET, safe=""),
        base64.b64encode(SECRET.encode()).decode(),
        SECRET.encode().hex(),
        __import__("json").dumps(SECRET),
        f"prefix{SECRET}suffix",
    ],
)
def test_registered_values_are_masked_however_they_are_written(written: str) -> None:
    """Quoted, escaped, encoded or within other text: a registered value does not come through."""
    registry = SecretRegistry()
    registry.register(SECRET)
    redacted = Redactor(registry).text(f"say {written} end")
    assert written not in redacted
    assert "hünter2" not in redacted
    assert redacted.endswith("end")


@given(st.text(min_size=4, max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_no_registered_value_survives_in_any_text(secret: str, before: str, after: str) -> None:
    """Whatever the value and whatever stands around it, it is not in what comes out."""
    registry = SecretRegistry()
    registry.register(secret)
    masked = registry.mask(f"{before}{secret}{after}")
    remainder = masked.replace(MASK, "")
    assert secret not in remainder or secret in (before + after)


def test_shapes_of_values_are_kept() -> None:
    """Numbers, truth values and nothing pass; objects become their text; keys are masked too."""
    registry = SecretRegistry()
    registry.register("S3CR3T", "987654")

    class Holder:
        def __repr__(self) -> str:
            return "Holder(value='S3CR3T')"

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("S3CR3T")

    redacted = Redactor(registry).value(
        {"n": 5, "f": 1.5, "t": True, "none": None, "S3CR3T": 1, "o": Holder(), "b": Broken(), "digits": 987654}
        | {"bytes": b"S3CR3T", "set": {"S3CR3T"}, "tuple": ("S3CR3T",), "in": "S3CR3T"}
    )
    assert "S3CR3T" not in repr(redacted)
    assert redacted == {
        "n": 5,
        "f": 1.5,
        "t": True,
        "none": None,
        MASK: 1,
        "o": f"Holder(value='{MASK}')",
        "b": "<Broken, whose repr raised RuntimeError>",
        "digits": MASK,
        "bytes": f"b'{MASK}'",
        "set": [MASK],
        "tuple": [MASK],
        "in": MASK,
    }


def test_what_is_walked_through_is_bounded() -> None:
    """Deep, wide, long and circular values end, and say so."""
    circular: list[object] = []
    circular.append(circular)
    redactor = Redactor(SecretRegistry())
    assert "<list>" in repr(redactor.value(circular))
    assert len(redactor.value(list(range(5_000)))) == redaction.ITEMS_MAX + 1  # type: ignore[arg-type]
    assert len(redactor.text("x" * 10**6)) < redaction.TEXT_CHARACTERS_MAX + 50


@pytest.mark.parametrize(
    "piece", ["a", "password", "token=", '"', "x:", "://", "eyJ", "a.", "-----BEGIN PRIVATE KEY-----"]
)
def test_hostile_texts_are_masked_in_good_time(piece: str) -> None:
    """No text makes the patterns backtrack without end."""
    text = (piece * 70_000)[:65_000]
    begun = time.process_time()
    Redactor(SecretRegistry()).text(text)
    assert time.process_time() - begun < 2


def test_the_registry_shows_nothing_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry's repr has no value in it, empty texts mask nothing, and there is an end to registering."""
    registry = SecretRegistry()
    registry.register("S3CR3T", "")
    assert repr(registry) == "<SecretRegistry of 1 values>"
    assert registry.mask("plain") == "plain"
    monkeypatch.setattr(redaction, "SECRETS_MAX", 2)
    with pytest.raises(TooManySecretsError):
        registry.register("one", "two")


def test_one_line_of_a_key_is_masked_too() -> None:
    """A traceback that shows one line of a PEM key shows nothing of it."""
    registry = SecretRegistry()
    registry.register("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIABCDEFGHIJKLMNOP\n-----END PRIVATE KEY-----\n")
    assert "MC4CAQ" not in registry.mask("ValueError: bad line MC4CAQAwBQYDK2VwBCIEIABCDEFGHIJKLMNOP")
