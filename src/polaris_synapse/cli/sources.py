"""`polaris sources`: where outside texts and figures come from, and what a text is read as."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polaris_synapse.cli.connection import CommandError, connect
from polaris_synapse.cli.output import BAD, GOOD, QUIET, JsonOption, clock_text, console, print_json, print_table

if TYPE_CHECKING:
    from polaris_synapse.agents.sources.reader import Reading

_FILE_BYTES_MAX = 2_097_152
_MARKS = {"OK": GOOD, "FAILING": BAD, "WAITING": QUIET}

sources_app = typer.Typer(help="Outside texts and figures: news, posts, notes, chains.", no_args_is_help=False)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(sources_app, name="sources", rich_help_panel="Jarvis")


@sources_app.callback(invoke_without_command=True, epilog="Example:  polaris sources  |  polaris sources read note.md")
def sources(context: typer.Context, json_output: JsonOption = False) -> None:
    """List the sources of the settings and how they do. None is set up unless the settings name it."""
    if context.invoked_subcommand is not None:
        return
    answer = connect().get("llm_agents", "/sources")
    if json_output:
        print_json(answer)
        return
    rows = [
        [
            one["name"],
            one["kind"],
            f"[{_MARKS.get(one['state'], QUIET)}]{one['state']}[/]",
            one["events"],
            one["published"],
            one["withheld"],
            clock_text(one["last_success_time_ns"]) if one["last_success_time_ns"] else "never",
            one["detail"],
        ]
        for one in answer["sources"]
    ]
    print_table(
        "Sources",
        ["name", "kind", "state", "items", "scores", "withheld", "last success", "what is wrong"],
        rows,
        empty="There are no sources; add some under sources in the settings file.",
        right=("items", "scores", "withheld"),
        long=("what is wrong",),
    )


@sources_app.command(epilog="Example:  polaris sources sentiment --symbol BTCUSDT")
def sentiment(
    symbol: Annotated[str, typer.Option(help="Only what says something about this instrument.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, newest first.")] = 20,
    json_output: JsonOption = False,
) -> None:
    """Show what the last texts were read as. Their titles are strangers' words, shown as such."""
    import html

    answer = connect().get("llm_agents", "/sentiment", symbol=symbol.upper(), limit=limit)
    if json_output:
        print_json(answer)
        return
    rows: list[list[Any]] = []
    for one in answer["items"]:
        said = " ".join(f"{view['symbol']} {_percent(view['score_ppm'])}" for view in one["views"])
        title = html.unescape(one["outside_text"]["title"]).replace("[", "(").replace("]", ")")
        verdict = "withheld" if one["withheld"] else said or "nothing"
        rows.append([clock_text(one["seen_time_ns"]), one["source"], verdict, " ".join(one["flags"]), f"“{title}”"])
    print_table(
        "Readings",
        ["seen", "source", "read as", "suspicious", "outside text"],
        rows,
        empty="Nothing was read since the desk started.",
        long=("outside text",),
    )


@sources_app.command(epilog="Example:  polaris sources read note.md --json")
def read(
    file: Annotated[Path, typer.Argument(help="A text: its first line is the title.", exists=True, dir_okay=False)],
    config: Annotated[str | None, typer.Option(help="The settings whose instruments are meant.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Show what a text is read as, without a desk, a model or the network."""
    title, body = _text_of(file)
    reading = _read(title, body, config)
    if json_output:
        print_json(reading)
        return
    if reading.withheld:
        console().print("Withheld: the text speaks to machines, not to people. No score is made of it.")
    elif not reading.views:
        console().print("It says nothing about an instrument of this desk.")
    for view in reading.views:
        console().print(
            f"{view.symbol}: score {_percent(view.score_ppm)}, confidence {_percent(view.confidence_ppm)}, "
            f"about {reading.category.value.lower()}"
        )
    if reading.flags:
        console().print(f"Suspicious: {', '.join(flag.value for flag in reading.flags)}.")


def _text_of(file: Path) -> tuple[str, str]:
    from polaris_synapse.agents.sources.documents import plain_text
    from polaris_synapse.agents.sources.files import text_entry

    with file.open("rb") as opened:
        data = opened.read(_FILE_BYTES_MAX + 1)
    if len(data) > _FILE_BYTES_MAX:
        raise CommandError(f"{file} is larger than {_FILE_BYTES_MAX} bytes; give a shorter text.")
    entry = text_entry(data, file.name, 0)
    return plain_text(entry.title), plain_text(entry.body)


def _read(title: str, body: str, config: str | None) -> Reading:
    from polaris_synapse.agents.sources.assets import AssetNames
    from polaris_synapse.agents.sources.lexicon import LexiconReader
    from polaris_synapse.desk.loading import ConfigurationError, load_settings
    from polaris_synapse.desk.reference_data import instruments_of

    try:
        instruments = instruments_of(load_settings(config))
    except ConfigurationError as error:
        raise CommandError(str(error)) from None
    return LexiconReader(AssetNames(instruments)).read_text(title, body)


def _percent(ppm: int) -> str:
    """Millionths as a percentage with one decimal, without a float."""
    sign = "-" if ppm < 0 else ""
    tenths = (abs(ppm) + 500) // 1_000
    return f"{sign}{tenths // 10}.{tenths % 10} %"
