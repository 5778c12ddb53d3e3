"""Servers that alerts are sent to: one that takes HTTP posts as Slack, Telegram and webhooks do, and one for mail."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from msgspec import Struct


class Posted(Struct, frozen=True):
    """One request as it arrived; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


class PostServer:
    """Keeps what it was sent.

    ``answers``: statuses for the next requests, then 200; ``retry_after`` and ``body`` go with each.
    """

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        self.answers: list[int] = []
        self.retry_after = ""
        self.body = b""
        self.arrived = threading.Condition()
        self.url = ""

    def wait(self, count: int, *, seconds: float = 10.0) -> list[Posted]:
        """The first ``count`` requests. Raises TimeoutError where they do not come."""
        with self.arrived:
            if not self.arrived.wait_for(lambda: len(self.posted) >= count, seconds):
                raise TimeoutError(f"{len(self.posted)} of {count} requests came")
            return self.posted[:count]


@contextmanager
def post_server() -> Iterator[PostServer]:
    """A server on a free loopback port."""
    kept = PostServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            with kept.arrived:
                headers = {name.lower(): value for name, value in self.headers.items()}
                kept.posted.append(Posted(self.path, headers, body))
                status = kept.answers.pop(0) if kept.answers else 200
                kept.arrived.notify_all()
            self.send_response(status)
            if kept.retry_after:
                self.send_header("retry-after", kept.retry_after)
            self.send_header("content-length", str(len(kept.body)))
            self.end_headers()
            self.wfile.write(kept.body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: what came is in ``posted``."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="post-server")
    thread.start()
    kept.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class MailServer:
    """Keeps the mails it took. ``refusal``: what it answers to every mail instead of taking it."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.refusal = ""
        self.port = 0


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """An SMTP server without encryption on a free loopback port."""
    kept = MailServer()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 ready")
            while line := self.rfile.readline():
                word = line.split(b" ")[0].strip().upper()
                if word == b"DATA":
                    self._take()
                elif word == b"QUIT":
                    self._say("221 bye")
                    return
                else:
                    self._say("250 ok")

        def _take(self) -> None:
            self._say("354 go on")
            lines: list[str] = []
            while (line := self.rfile.readline()) and line != b".\r\n":
                lines.append(line.decode())
            if kept.refusal:
                self._say(kept.refusal)
                return
            kept.mails.append("".join(lines))
            self._say("250 taken")

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="mail-server")
        thread.start()
        kept.port = server.server_address[1]
        try:
            yield kept
        finally:
            server.shutdown()
            thread.join()
