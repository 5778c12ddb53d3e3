"""Logs: lines of the right shape, rotated, and no secret in them whichever way it came."""

from __future__ import annotations

import io
import json
import logging
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from polaris_synapse.monitoring import redaction
from polaris_synapse.monitoring.logging import configure_logging
from polaris_synapse.monitoring.redaction import MASK, SecretRegistry

SECRET = "Zx9-very-secret"


@pytest.fixture(autouse=True)
def restored_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test registers and configures for itself; afterwards everything is as before."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    hooks = sys.excepthook, threading.excepthook
    monkeypatch.setattr(redaction, "secrets", redaction.secrets)
    before = dict(vars(redaction.secrets))
    yield
    vars(redaction.secrets).update(before)
    for handler in root.handlers[:]:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook, threading.excepthook = hooks
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def configured(**options: Any) -> io.StringIO:
    """Configure for a stream in memory, with the secret registered."""
    stream = io.StringIO()
    configure_logging(stream=stream, secret_values=[SECRET], **options)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """What was written, as JSON."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object() -> None:
    """Time in UTC, level, event, logger, service, bound and given fields, in one line each."""
    stream = configured(service="desk")
    structlog.contextvars.bind_contextvars(request_id="r-1")
    structlog.get_logger("room").info("order accepted", order_id=17, text="two\nlines", amount=10**30)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "order accepted",
        "logger": "room",
        "service": "desk",
        "request_id": "r-1",
        "order_id": 17,
        "text": "two\nlines",
        "amount": str(10**30),
    }


def raise_with(secret: str) -> None:
    """An error whose message, arguments, cause and frames all know the secret."""
    local_copy = secret
    try:
        raise KeyError(local_copy)
    except KeyError as error:
        raise RuntimeError(f"could not use {secret}", secret) from error


def say_everywhere(secret: str) -> None:
    """Log a secret in every way that people and libraries do."""
    log = structlog.get_logger("room")
    log.info("message " + secret)  # noqa: G003  # people do
    log.info("field", value=secret, nested={"list": [secret]}, password="other", headers={"Authorization": "Basic abc"})
    log.info("key", **{secret: 1})
    log.warning("object", value=SecretHolder(secret))
    logging.getLogger("library").warning("formatted %s and %r", secret, {"k": secret})
    logging.getLogger("library").warning("with extra", extra={"token": secret})
    logging.getLogger("library").error("stack", stack_info=True)
    for logger in (log, logging.getLogger("library")):
        try:
            raise_with(secret)
        except RuntimeError:
            logger.exception("failed")


class SecretHolder:
    """Shows its secret in its repr."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def __repr__(self) -> str:
        return f"SecretHolder({self.secret!r})"


@pytest.mark.parametrize("as_json", [True, False])
def test_no_registered_secret_reaches_the_logs(as_json: bool, tmp_path: Path) -> None:
    """Messages, fields, keys, reprs, stdlib arguments and chained tracebacks: nowhere is the secret."""
    file = tmp_path / "logs" / "desk.jsonl"
    stream = configured(json=as_json, file=file)
    say_everywhere(SECRET)
    written = stream.getvalue(), file.read_text(encoding="utf-8")
    for text in written:
        assert SECRET not in text
        assert MASK in text
        assert "other" not in text
        assert "RuntimeError: ('could not use" in text
        assert "KeyError" in text
        assert "Traceback" in text
    assert written[1].count("\n") == 9


def test_tracebacks_show_no_locals() -> None:
    """A local variable's value is never part of a traceback, registered or not."""
    stream = configured()

    def fail() -> None:
        confidential = "never registered"
        raise ValueError(len(confidential))

    try:
        fail()
    except ValueError:
        structlog.get_logger().exception("failed")
    assert "never registered" not in lines(stream)[0]["exception"].replace('confidential = "never registered"', "")
    assert "ValueError: 16" in lines(stream)[0]["exception"]


def test_a_record_that_cannot_be_formatted_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A library's formatting mistake costs its line, not the secret that was its argument."""
    configured()
    logging.getLogger("library").warning("%d orders", SECRET)
    error = capsys.readouterr().err
    assert SECRET not in error
    assert "a log record was lost (library" in error


def test_levels_and_noisy_libraries() -> None:
    """Below the level nothing is written, and libraries that log URLs at INFO are held to warnings."""
    stream = configured(level="INFO")
    structlog.get_logger().debug("hidden")
    logging.getLogger("httpx2").info("GET https://example.com/?signature=abc")
    logging.getLogger("httpx2").warning("shown")
    assert [line["event"] for line in lines(stream)] == ["shown"]
    with pytest.raises(ValueError, match="no log level"):
        configure_logging(level="LOUD")


def test_a_second_call_replaces_the_first() -> None:
    """Configuring again writes each line once, in the new form."""
    first, second = configured(), configured(level="WARNING")
    structlog.get_logger().info("hidden")
    structlog.get_logger().warning("shown")
    assert (first.getvalue(), len(lines(second))) == ("", 1)


def test_files_rotate_and_are_private(tmp_path: Path) -> None:
    """A file is put aside at its size, so many are kept, and only their owner may read them."""
    file = tmp_path / "logs" / "desk.jsonl"
    configure_logging(terminal=False, file=file, file_bytes_max=1_000, files_kept_max=2)
    for number in range(50):
        structlog.get_logger().info("a line of some length", number=number)
    files = sorted(file.parent.iterdir())
    assert [path.name for path in files] == ["desk.jsonl", "desk.jsonl.1", "desk.jsonl.2"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert all(path.stat().st_size <= 1_000 for path in files)
    assert json.loads(file.read_text(encoding="utf-8").splitlines()[-1])["number"] == 49


def test_text_from_outside_cannot_move_the_cursor() -> None:
    """Control characters and line breaks of a field are shown on the terminal, not obeyed."""
    stream = configured(json=False)
    structlog.get_logger().info("order\x1b[2J\nFAKE line", note="\x07bell", lone="\ud800")
    (line,) = stream.getvalue().splitlines()
    assert "\x1b" not in line
    assert "\\x1b[2J\\nFAKE line" in line


def test_half_a_surrogate_pair_is_still_a_line() -> None:
    """Text that is no Unicode is written escaped instead of costing the line."""
    stream = configured()
    structlog.get_logger().info("odd", text="\ud800", **{"\udfff": 1})
    assert lines(stream)[0]["text"] == "\\ud800"


def test_uncaught_errors_are_logged_without_secrets() -> None:
    """An error that ends the process, or a thread of it, is written redacted and nothing goes around the log."""
    program = (
        "import sys, threading\n"
        "from polaris_synapse.monitoring.logging import configure_logging\n"
        "secret = '-'.join(['Zx9', 'very', 'secret'])\n"
        "configure_logging(secret_values=[secret])\n"
        "def fail():\n"
        "    raise RuntimeError('thread knows ' + secret)\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "raise RuntimeError('main knows ' + secret)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert SECRET not in done.stderr + done.stdout
    found = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in found] == ["uncaught exception"] * 2
    assert f"thread knows {MASK}" in found[0]["exception"]


def test_the_registry_of_the_process_is_used() -> None:
    """A secret that is registered after logging was set up is masked from then on."""
    stream = configured()
    redaction.register_secret("registered-later")
    structlog.get_logger().info("now registered-later is known")
    assert lines(stream)[0]["event"] == f"now {MASK} is known"
    assert isinstance(redaction.secrets, SecretRegistry)
