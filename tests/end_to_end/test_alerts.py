"""Alerts of a real desk: what happens, that it was stopped, and that it died, told to a server like Slack's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.end_to_end.support import WIDE_LIMITS, account, until, write_config

from polaris_synapse.testing.alert_servers import PostServer, post_server
from polaris_synapse.testing.desk_process import DeskProcess


@pytest.fixture
def slack() -> Iterator[PostServer]:
    """Takes what an incoming webhook takes."""
    with post_server() as server:
        yield server


@pytest.fixture
def desk(tmp_path: Path, slack: PostServer) -> DeskProcess:
    """A desk that tells this server, by nothing but the variable; not started yet."""
    config = write_config(tmp_path, accounts=[account("main")], limits={"*": WIDE_LIMITS})
    environment = {"SLACK_WEBHOOK_URL": f"{slack.url}/hook", "POLARIS_CONFIG": str(config)}
    return DeskProcess(tmp_path / "desk", config=str(config), environment=environment)


def texts(slack: PostServer) -> list[str]:
    """What people have read so far."""
    return [json.loads(posted.body)["text"] for posted in slack.posted]


def watchdog(desk: DeskProcess) -> subprocess.CompletedProcess[str]:
    """One look of the watchdog."""
    return subprocess.run(
        [sys.executable, "-m", "polaris_synapse.cli.main", "watchdog", "--once", "--silence-seconds", "2"],
        env=desk.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_people_hear_of_a_breaker_and_of_the_end(desk: DeskProcess, slack: PostServer) -> None:
    """A breaker that trips and a desk that is stopped are told once each; what is only good to know is not."""
    with desk:
        desk.json("risk", "POST", "/circuit-breaker/activate", {"scope": "*", "note": "<!channel> drill"})
        until(lambda: any("Circuit breaker tripped" in text for text in texts(slack)), what="the alert of the breaker")
        desk.stop()
    stopped = until(lambda: [text for text in texts(slack) if "was stopped on purpose" in text], what="the last word")
    assert len(stopped) == 1
    told = [text for text in texts(slack) if "Circuit breaker tripped" in text]
    assert len(told) == 1
    assert "<!channel>" not in told[0]
    assert not any("is ready" in text for text in texts(slack))


def test_people_hear_that_the_desk_has_died(desk: DeskProcess, slack: PostServer) -> None:
    """A desk that was killed says nothing any more; the watchdog does, through the same channel."""
    with desk:
        desk.kill()

        def gone() -> bool:
            done = watchdog(desk)
            return done.returncode == 1 and "gone" in done.stdout

        until(gone, what="the watchdog's finding", seconds_max=60)
        assert any("The desk has stopped: it died" in text for text in texts(slack)), texts(slack)
