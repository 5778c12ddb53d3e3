"""Structured logs: JSON lines in a rotating file, JSON or readable lines on the terminal, and no secret in either.

structlog's loggers and the standard library's go through the same last steps, so a library's message is redacted like
our own. Tracebacks are text without the values of local variables.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Iterable, MutableMapping
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TextIO

import msgspec
import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import Processor

from polaris_synapse.monitoring.redaction import Redactor, register_secret

#: A log file is put aside at this size, and this many are kept beside it.
FILE_BYTES_MAX: Final = 50 * 1024 * 1024
FILES_KEPT_MAX: Final = 10

#: Libraries that say at INFO what the desk says better itself, or what may hold signed URLs.
_QUIET: Final = ("uvicorn.access", "httpx2", "httpcore2", "websockets", "asyncio", "urllib3", "sqlalchemy", "alembic")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

EventDict = MutableMapping[str, Any]


def configure_logging(
    *,
    level: str = "INFO",
    json: bool = True,
    file: Path | None = None,
    stream: TextIO | None = None,
    terminal: bool = True,
    service: str = "",
    secret_values: Iterable[str] = (),
    file_bytes_max: int = FILE_BYTES_MAX,
    files_kept_max: int = FILES_KEPT_MAX,
) -> None:
    """Set up logging for the process; a second call replaces the first one's.

    Handlers that others put on the root logger are taken off: they would write what ours mask.

    ``level`` is DEBUG, INFO, WARNING or ERROR. ``json`` chooses JSON lines for the terminal (``stream``, else standard
    error; ``terminal=False`` writes none there). ``file`` always takes JSON lines and is rotated; its folder is made.
    ``service`` goes onto every line. ``secret_values`` are registered for masking. Raises ValueError for an unknown
    level and OSError for a file that cannot be written.
    """
    number = logging.getLevelNamesMapping().get(level)
    if number is None or level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError(f"{level} is no log level; use DEBUG, INFO, WARNING or ERROR")
    register_secret(*secret_values)
    redactor = Redactor()
    handlers: list[logging.Handler] = []
    if terminal:
        handlers.append(_StreamHandler(stream or sys.stderr))
        handlers[-1].setFormatter(_formatter(_json_line if json else _console_line, redactor, service))
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handlers.append(_FileHandler(file, maxBytes=file_bytes_max, backupCount=files_kept_max, encoding="utf-8"))
        handlers[-1].setFormatter(_formatter(_json_line, redactor, service))
    root = logging.getLogger()
    for old in root.handlers[:]:
        # Anybody else's handler would write what ours masks.
        root.removeHandler(old)
        if isinstance(old, _Quiet):
            old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(number)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    structlog.configure(
        processors=[*_shared_processors(), ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=False,
    )
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _formatter(render: Processor, redactor: Redactor, service: str) -> ProcessorFormatter:
    def redact(_: Any, __: str, event: EventDict) -> EventDict:
        if service:
            event.setdefault("service", service)
        return {redactor.text(key): redactor.value(item, name=key) for key, item in event.items()}

    return ProcessorFormatter(
        foreign_pre_chain=_shared_processors(),
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.StackInfoRenderer(),
            # The traceback as text, without locals; only then is anything redacted, so the text is too.
            structlog.processors.format_exc_info,
            structlog.processors.UnicodeDecoder(),
            redact,
            render,
        ],
    )


def _json_line(_: Any, __: str, event: EventDict) -> str:
    """One JSON object: time, level and event first, for people who read it raw."""
    first = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    # Half a surrogate pair is no Unicode text; whoever logged it still gets a line.
    return msgspec.json.encode(_encodable({**first, **event})).decode("utf-8")


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    if type(value) is int and not -(2**63) <= value < 2**64:
        return str(value)
    return value


def _console_line(_: Any, __: str, event: EventDict) -> str:
    """A line for people. Control characters are shown, not obeyed: text from outside must not move the cursor."""
    time, level = str(event.pop("timestamp", "")), str(event.pop("level", ""))
    exception, stack = event.pop("exception", None), event.pop("stack", None)
    event.pop("logger", None)
    what = event.pop("event", "")
    fields = " ".join(f"{key}={item!r}" if isinstance(item, str) else f"{key}={item}" for key, item in event.items())
    line = f"{time[11:19]} {level:<8} {what}{'  ' + fields if fields else ''}".replace("\n", "\\n")
    for more in (stack, exception):
        if more:
            line += f"\n{more}"
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", _encodable(line))


class _Quiet(logging.Handler):
    """A handler of ours. What cannot be written is said in one line that holds nothing of the record."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the standard library's name
        """Say that a record was lost, without its text: that may be what must not be shown."""
        kind = sys.exc_info()[0]
        where = f"{record.name}, {Path(record.pathname).name}:{record.lineno}"
        if sys.stderr is not None:
            sys.stderr.write(f"a log record was lost ({where}): {kind.__name__ if kind else 'unknown error'}\n")


class _StreamHandler(_Quiet, logging.StreamHandler[TextIO]):
    """Writes to the terminal."""


class _FileHandler(_Quiet, RotatingFileHandler):
    """Writes to a file that only its owner may read."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return TextIOWrapper(os.fdopen(descriptor, "ab"), encoding="utf-8", write_through=True)


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """An error that nobody caught goes through the same steps as everything else that is written."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    structlog.get_logger("polaris_synapse").critical("uncaught exception", exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:
        _log_uncaught(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
