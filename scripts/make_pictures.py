"""Makes docs/pictures/: what the command line prints on a desk with a simulated market of a fixed seed, as SVG.

    python scripts/make_pictures.py [--seed 7] [--minutes 15] [--only book --only order]

Nothing is drawn by hand. A desk is started on the usual ports over a new data directory, the commands are run against
it, and what they print becomes the picture. `why` waits until the analyst has a view and has ordered something, and
`chat` until it asks for approval, which takes a few minutes; `--minutes` bounds both.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from polaris_synapse.desk.place import read_place

FOLDER: Final = Path(__file__).resolve().parents[1] / "docs" / "pictures"
COLUMNS: Final = 100
_POLARIS: Final = str(Path(sys.executable).parent / "polaris")
_START_SECONDS_MAX: Final = 60
#: So that a chart of one-second candles has something to show.
_FIRST_PICTURE_SECONDS: Final = 85
_POLL_SECONDS: Final = 10
_THEME: Final = TerminalTheme(
    (22, 27, 34),
    (201, 209, 217),
    [
        (48, 54, 61), (255, 123, 114), (86, 211, 100), (227, 179, 65),
        (121, 192, 255), (210, 168, 255), (118, 227, 234), (201, 209, 217),
    ],
)  # fmt: skip
#: Rich's template, without its web font: a picture fetches nothing.
_FORMAT: Final = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "font-family: Fira Code, monospace;", "font-family: 'DejaVu Sans Mono', Menlo, Consolas, monospace;"
)

#: Picture: the lines that are typed for it.
PICTURES: Final[dict[str, tuple[str, ...]]] = {
    "status": ("polaris status",),
    "book": ("polaris book BTCUSDT",),
    "candles": ("polaris candles BTCUSDT --interval 1s",),
    "order": (
        "polaris order buy 0.01 BTCUSDT",
        "polaris order buy 5 BTCUSDT",
        "polaris positions",
    ),
    # Without the list of facts at its end, which has fifty lines.
    "why": ("polaris why latest | sed '/^Facts/,$d'",),
    # A conversation, said line by line at a terminal; see ``conversation``.
    "chat": ("polaris chat",),
}
_MANDATE: Final = "let the analyst trade BTC and ETH up to 500 USDT an order, 5000 a day, ask me before each order"
_PROMPT: Final = b"\n> "
#: Where the explanation goes on with its tables of figures.
_TABLES: Final = "How the size came about"


class PictureDesk:
    """One desk for all pictures."""

    def __init__(self, directory: Path, seed: int) -> None:
        self._directory = directory / "desk"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("POLARIS_")}
        self._environment = kept | {
            "POLARIS_DATA_DIRECTORY": str(self._directory),
            "POLARIS_FEED__SEED": str(seed),
            "PATH": f"{Path(_POLARIS).parent}:{os.environ['PATH']}",
            "COLUMNS": str(COLUMNS),
            "FORCE_COLOR": "1",
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PictureDesk:
        self._process = subprocess.Popen(  # noqa: S603  # our own command, no shell
            [_POLARIS, "up", "--feed", "simulated", "--quiet"], env=self._environment
        )
        deadline = time.monotonic() + _START_SECONDS_MAX
        while read_place(self._directory) is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise SystemExit("The desk did not start; see above.")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=60)

    def run(self, line: str) -> str:
        """What a line prints that is typed, refusals included."""
        done = subprocess.run(  # noqa: S603  # the lines are in this file
            ["/bin/bash", "-c", line],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return done.stdout.decode()

    def converse(self, said: list[str]) -> str:
        """What a terminal shows of `polaris chat` when these lines are typed, each at its prompt."""
        ours, theirs = pty.openpty()
        with subprocess.Popen(  # noqa: S603  # our own command, no shell
            [_POLARIS, "chat"], env=self._environment, stdin=theirs, stdout=theirs, stderr=theirs
        ) as process:
            os.close(theirs)
            shown = b""
            for line in [*said, "exit"]:
                while not shown.endswith(_PROMPT):
                    shown += os.read(ours, 65_536)
                os.write(ours, line.encode() + b"\n")
                # The echo ends what was shown until then, so that the next prompt is a new one.
                while not shown.endswith(b"\n"):
                    shown += os.read(ours, 65_536)
            process.wait()
        os.close(ours)
        return shown.decode().replace("\r", "").removesuffix("> exit\n")

    def wait_for_request(self, minutes: float) -> dict[str, Any]:
        """The request for approval that the analyst makes under a mandate to ask. Exits when time is up."""
        self.run(f"polaris mandate write '{_MANDATE}' --yes")
        deadline = time.monotonic() + minutes * 60
        while time.monotonic() < deadline:
            waiting: list[dict[str, Any]] = json.loads(self.run("polaris approvals list --json"))["approvals"]
            if waiting:
                return waiting[0]
            time.sleep(_POLL_SECONDS)
        raise SystemExit("The analyst asked for nothing in that time; try another --seed or more --minutes.")

    def wait_for_view(self, minutes: float) -> None:
        """Until the analyst's newest decision orders something, or at least comes from a view when time is up."""
        deadline = time.monotonic() + minutes * 60
        while time.monotonic() < deadline:
            decisions: list[dict[str, Any]] = json.loads(self.run("polaris decisions --limit 1 --json"))["decisions"]
            if decisions and decisions[0]["view"] != "HOLD" and decisions[0].get("order_id"):
                return
            time.sleep(_POLL_SECONDS)


def conversation(desk: PictureDesk, minutes: float) -> str:
    """Ask for a proposal, approve it, ask why; up to the tables of figures."""
    request = desk.wait_for_request(minutes)
    asset = str(request["order"]["symbol"]).removesuffix("USDT")
    shown = desk.converse([f"propose a trade in {asset}", f"approve {request['approval_id']}", "why?"])
    return shown[: shown.index(_TABLES)] if _TABLES in shown else shown


def picture(name: str, desk: PictureDesk, minutes: float) -> str:
    """The SVG of one picture. ``minutes``: how long the analyst may take to ask for approval."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(
            record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor", highlight=False
        )
        for number, line in enumerate(PICTURES[name]):
            if number:
                console.print()
            console.print(Text.assemble(("$ ", "dim"), (line, "bold")))
            printed = conversation(desk, minutes) if name == "chat" else desk.run(line)
            console.print(Text.from_ansi(printed.rstrip("\n")))
    return console.export_svg(title=" ", theme=_THEME, code_format=_FORMAT, unique_id=f"polaris-{name}")


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description="Make docs/pictures/ from a desk on a simulated market.")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--minutes", type=float, default=15, help="how long `why` may wait for a view")
    parser.add_argument("--only", action="append", choices=sorted(PICTURES), help="may be repeated")
    options = parser.parse_args()
    wanted = [name for name in PICTURES if not options.only or name in options.only]
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, PictureDesk(Path(directory), options.seed) as desk:
        time.sleep(_FIRST_PICTURE_SECONDS)
        for name in wanted:
            if name == "why":
                desk.wait_for_view(options.minutes)
            svg = "\n".join(line.rstrip() for line in picture(name, desk, options.minutes).splitlines())
            (FOLDER / f"{name}.svg").write_text(svg + "\n", encoding="utf-8")
            print(f"docs/pictures/{name}.svg")


if __name__ == "__main__":
    main()
