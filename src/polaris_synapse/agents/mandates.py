"""A mandate as a person writes and reads it: a short YAML sheet with decimal amounts, and back, exactly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from polaris_synapse.domain.messages import Autonomy, Mandate, TradingWindow
from polaris_synapse.domain.money import Asset, MoneyError, format_units, parse_amount

SHEET_CHARACTERS_MAX: Final = 16_384
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_PPM_DECIMALS: Final = 6
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")

_Name = Annotated[str, Meta(min_length=1, max_length=64)]
_Amount = Annotated[str, Meta(min_length=1, max_length=40)]


class MandateError(ValueError):
    """A sheet that is no mandate; the message says in one sentence what is wrong and where."""


class Hours(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the agent may trade: ``days`` such as ``mon``, ``start`` and ``end`` as ``08:00`` in UTC.

    An end that is not after the start lies on the next day.
    """

    days: tuple[str, ...] = DAYS
    start: str = "00:00"
    end: str = "24:00"


class MandateSheet(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mandate with amounts as decimal text in the valuation asset; ``leverage_max`` is a multiple of equity.

    ``approval_above`` goes with ``autonomy: approve_above`` and is left out otherwise. Left-out limits are off.
    """

    agent: _Name
    account: _Name
    symbols: Annotated[tuple[_Name, ...], Meta(min_length=1, max_length=500)]
    order_value_max: _Amount
    daily_value_max: _Amount
    autonomy: Autonomy
    approval_above: _Amount | None = None
    approval_seconds_max: int = 900
    leverage_max: _Amount | None = None
    daily_loss_max: _Amount | None = None
    hours: tuple[Hours, ...] = ()
    enabled: bool = True


def sheet_of(mandate: Mandate, valuation: Asset) -> MandateSheet:
    """A mandate as its sheet."""

    def amount(units: int) -> str:
        return format_units(units, valuation.decimals)

    above = mandate.autonomy is Autonomy.APPROVE_ABOVE
    return MandateSheet(
        agent=mandate.agent,
        account=mandate.account,
        symbols=mandate.symbols,
        order_value_max=amount(mandate.order_value_units_max),
        daily_value_max=amount(mandate.daily_value_units_max),
        autonomy=mandate.autonomy,
        approval_above=amount(mandate.approval_above_units) if above else None,
        approval_seconds_max=mandate.approval_seconds_max,
        leverage_max=format_units(mandate.leverage_ppm_max, _PPM_DECIMALS) if mandate.leverage_ppm_max else None,
        daily_loss_max=amount(mandate.loss_units_max) if mandate.loss_units_max else None,
        hours=tuple(_hours_of(window) for window in mandate.windows),
        enabled=mandate.enabled,
    )


def mandate_of(sheet: MandateSheet, valuation: Asset, symbols_known: Iterable[str]) -> Mandate:
    """The mandate that a sheet says. Raises MandateError for what contradicts itself or does not exist."""
    known = set(symbols_known)
    for symbol in sheet.symbols:
        if symbol not in known:
            raise MandateError(f"There is no instrument {symbol}; see: polaris instruments")
    above = sheet.autonomy is Autonomy.APPROVE_ABOVE
    if above != (sheet.approval_above is not None):
        raise MandateError("approval_above goes with autonomy approve_above, and only with it.")
    order_max = _units(sheet.order_value_max, valuation, "order_value_max")
    daily_max = _units(sheet.daily_value_max, valuation, "daily_value_max")
    if daily_max < order_max:
        raise MandateError("daily_value_max is smaller than order_value_max; which of them is meant?")
    return Mandate(
        account=sheet.account,
        agent=sheet.agent,
        symbols=tuple(dict.fromkeys(sheet.symbols)),
        order_value_units_max=order_max,
        daily_value_units_max=daily_max,
        approval_above_units=_units(sheet.approval_above, valuation, "approval_above") if sheet.approval_above else 0,
        enabled=sheet.enabled,
        autonomy=sheet.autonomy,
        leverage_ppm_max=_ppm(sheet.leverage_max) if sheet.leverage_max is not None else 0,
        loss_units_max=_positive(sheet.daily_loss_max, valuation) if sheet.daily_loss_max is not None else 0,
        windows=tuple(window for hours in sheet.hours for window in _windows_of(hours)),
        approval_seconds_max=sheet.approval_seconds_max,
    )


def read_sheet(text: str) -> MandateSheet:
    """The sheet of a YAML text. Raises MandateError."""
    import yaml

    if len(text) > SHEET_CHARACTERS_MAX:
        raise MandateError(f"A mandate's sheet has at most {SHEET_CHARACTERS_MAX} characters.")
    try:
        # Every scalar stays the text that was written, so no amount passes through a float.
        found = yaml.load(text, Loader=_loader())  # noqa: S506  # a BaseLoader, which makes only texts
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        raise MandateError(f"The sheet is not valid YAML{where}: {getattr(error, 'problem', None) or error}.") from None
    if not isinstance(found, dict):
        raise MandateError("A mandate's sheet is a mapping such as: agent: jarvis")
    try:
        return msgspec.convert(found, MandateSheet, strict=False)
    except msgspec.ValidationError as error:
        raise MandateError(f"The sheet is not a mandate: {error}.") from None


def sheet_text(sheet: MandateSheet) -> str:
    """A sheet as YAML, in the order in which it is best read."""
    quoted = {"order_value_max", "daily_value_max", "approval_above", "leverage_max", "daily_loss_max"}
    lines: list[str] = []
    for name in sheet.__struct_fields__:
        value = getattr(sheet, name)
        if value is None or (name == "hours" and not value):
            continue
        if name == "hours":
            lines.append("hours:")
            for hours in value:
                lines.append(f"  - days: [{', '.join(hours.days)}]")
                lines += [f'    start: "{hours.start}"', f'    end: "{hours.end}"']
        elif name == "symbols":
            lines.append(f"symbols: [{', '.join(value)}]")
        else:
            text = str(value.value if isinstance(value, Autonomy) else value)
            text = text.lower() if isinstance(value, bool) else text
            lines.append(f'{name}: "{text}"' if name in quoted else f"{name}: {text}")
    return "\n".join(lines) + "\n"


def widens(before: Mandate | None, after: Mandate) -> bool:
    """Whether a change lets the agent do anything that it may not do now."""
    if not after.enabled:
        return False
    if before is None or not before.enabled:
        return True

    def looser(old: int, new: int) -> bool:
        """A limit where 0 means that there is none."""
        return bool(old) and (not new or new > old)

    autonomy = (Autonomy.PROPOSE, Autonomy.APPROVE_ABOVE, Autonomy.AUTOPILOT)
    return (
        not set(after.symbols) <= set(before.symbols)
        or after.order_value_units_max > before.order_value_units_max
        or after.daily_value_units_max > before.daily_value_units_max
        or autonomy.index(after.autonomy) > autonomy.index(before.autonomy)
        or (after.autonomy is before.autonomy and after.approval_above_units > before.approval_above_units)
        or looser(before.leverage_ppm_max, after.leverage_ppm_max)
        or looser(before.loss_units_max, after.loss_units_max)
        or after.approval_seconds_max > before.approval_seconds_max
        or (bool(before.windows) and set(after.windows) != set(before.windows))
    )


def _loader() -> Any:
    import yaml

    class Loader(yaml.BaseLoader):
        """Texts only, no key twice, no references."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML has no types here
                raise yaml.constructor.ConstructorError(None, None, "references are not allowed", event.start_mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    return Loader


def _units(text: str, valuation: Asset, name: str) -> int:
    try:
        return parse_amount(text, valuation)
    except MoneyError as error:
        raise MandateError(f"{name} is not an amount of {valuation.code}: {error}.") from None


def _positive(text: str, valuation: Asset) -> int:
    units = _units(text, valuation, "daily_loss_max")
    if units <= 0:
        raise MandateError("daily_loss_max is above zero; leave it out for no limit.")
    return units


def _ppm(text: str) -> int:
    try:
        ppm = Decimal(text).scaleb(_PPM_DECIMALS)
    except InvalidOperation:
        raise MandateError(f"leverage_max is a multiple of equity such as 0.5, not {text}.") from None
    if not ppm.is_finite() or ppm != int(ppm) or not 0 < ppm <= 100_000_000:
        raise MandateError(f"leverage_max lies above 0 and at most 100, with at most 6 decimals, not {text}.")
    return int(ppm)


def _minute(text: str) -> int:
    found = _CLOCK.fullmatch(text)
    if found is None:
        raise MandateError(f"A time is written as 08:00, not {text}.")
    return 1_440 if text == "24:00" else int(found.group(1)) * 60 + int(found.group(2))


def _windows_of(hours: Hours) -> Sequence[TradingWindow]:
    days: list[int] = []
    for name in hours.days:
        if name.lower() not in DAYS:
            raise MandateError(f"A day is one of {', '.join(DAYS)}, not {name}.")
        days.append(DAYS.index(name.lower()))
    start, end = _minute(hours.start), _minute(hours.end)
    if not days or start == 1_440:
        raise MandateError("Trading hours name at least one day, and start before 24:00.")
    chosen = tuple(sorted(set(days)))
    if start < end:
        return (TradingWindow(days=chosen, start_minute=start, end_minute=end),)
    following = tuple(sorted((day + 1) % 7 for day in chosen))
    late = TradingWindow(days=chosen, start_minute=start, end_minute=1_440)
    return (late, TradingWindow(days=following, start_minute=0, end_minute=end)) if end else (late,)


def _hours_of(window: TradingWindow) -> Hours:
    def clock(minute: int) -> str:
        return f"{minute // 60:02}:{minute % 60:02}"

    return Hours(
        days=tuple(DAYS[day] for day in window.days), start=clock(window.start_minute), end=clock(window.end_minute)
    )
