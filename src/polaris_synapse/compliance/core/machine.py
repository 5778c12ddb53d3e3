"""The compliance core: folds its inbox into account standings, alerts and the audit chain."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from polaris_synapse.bus.core import NOTHING, Handler, decode_state, encode_state, hash_state
from polaris_synapse.compliance.core.accounts import (
    ACCOUNTS_MAX,
    EVERY_ACCOUNT,
    NOTE_CHARACTERS_MAX,
    Account,
    new_account,
    problem_with,
)
from polaris_synapse.compliance.core.activity import Activities
from polaris_synapse.compliance.core.alerts import AlertBox
from polaris_synapse.compliance.core.aml import TransactionMonitor
from polaris_synapse.compliance.core.audit_chain import AuditHead, genesis_hash
from polaris_synapse.compliance.core.audit_trail import (
    DESK,
    RECORDS,
    Record,
)
from polaris_synapse.compliance.core.kyc import kyc_may_move, kyc_moves_from
from polaris_synapse.compliance.core.recording import Recording, append
from polaris_synapse.compliance.core.state import ComplianceState
from polaris_synapse.compliance.core.valuation import Valuation
from polaris_synapse.domain.messages import (
    Answer,
    Command,
    ComplianceRules,
    ListInstrument,
    Mark,
    Message,
    OpenAccount,
    RestrictInstrument,
    ReviewAlert,
    ReviewKyc,
    SetAccountBlock,
    SetComplianceRules,
    SetSanctionsHold,
    Tick,
)
from polaris_synapse.domain.reasons import Reason

STATE_VERSION: Final = 1
#: Instruments whose marks are kept; more than any desk lists.
INSTRUMENTS_MAX: Final = 10_000


class ComplianceCore(Recording):
    """Decides accounts' standing, raises alerts and writes the audit chain.

    ``rules`` are in force until the first SetComplianceRules in the log; a desk keeps them the same for the life of
    its log. A snapshot carries the rules in force.
    """

    name = "compliance"

    def __init__(self, rules: ComplianceRules | None = None, *, partition: int = 0) -> None:
        head = AuditHead(sequence=0, head_hash=genesis_hash(partition))
        state = ComplianceState(rules=rules or ComplianceRules(), audit=head)
        self._activities = Activities()
        super().__init__(state, *_derived(state, self._activities))
        self._handlers |= {
            Tick: self._on_tick,
            Mark: self._on_mark,
            OpenAccount: self._on_open_account,
            ReviewKyc: self._on_review_kyc,
            SetSanctionsHold: self._on_sanctions_hold,
            SetAccountBlock: self._on_account_block,
            RestrictInstrument: self._on_restrict,
            ReviewAlert: self._on_review_alert,
            SetComplianceRules: self._on_rules,
        }
        for recorded, record_of in RECORDS.items():
            self._handlers[recorded] = self._recorder(record_of)
        self._handlers[ListInstrument] = self._on_list_instrument

    def snapshot(self) -> bytes:
        """The whole state, versioned."""
        state = self._state
        state.activities = list(self._activities.by_account.items())
        state.orders = list(self._activities.by_order.items())
        state.alerts = list(self._alerts.waiting.values())
        return encode_state(STATE_VERSION, state)

    def restore(self, snapshot: bytes, /) -> None:
        """Replace the state by a snapshot's, its rules included. Raises SnapshotError when it is not one of ours."""
        state = decode_state(STATE_VERSION, ComplianceState, snapshot)
        self._state = state
        self._activities = Activities()
        self._activities.by_account = OrderedDict(state.activities)
        self._activities.by_order = OrderedDict(state.orders)
        self._alerts = AlertBox()
        self._alerts.waiting = OrderedDict((alert.alert_id, alert) for alert in state.alerts)
        self._valuation, self._monitor = _derived(state, self._activities)

    def state_hash(self) -> str:
        """A hash of the state, equal for equal states in every process."""
        return hash_state(self.snapshot())

    @property
    def rules(self) -> ComplianceRules:
        """The transaction rules in force."""
        return self._state.rules

    # What comes without a command

    def _on_tick(self, message: Tick) -> Sequence[Message]:
        self._monitor.forget_silent(message.time_ns)
        return NOTHING

    def _on_mark(self, message: Mark) -> Sequence[Message]:
        if message.mark_ticks > 0 and message.symbol in self._state.instruments:
            self._state.marks[message.symbol] = message.mark_ticks
        return NOTHING

    def _on_list_instrument(self, message: ListInstrument) -> Sequence[Message]:
        instrument, instruments = message.instrument, self._state.instruments
        known = instruments.get(instrument.symbol)
        # Tick and lot never change; a listing that tries is refused by risk and must not change values here.
        changes_steps = known is not None and (known.tick_units, known.lot_units) != (
            instrument.tick_units,
            instrument.lot_units,
        )
        if not changes_steps and (known is not None or len(instruments) < INSTRUMENTS_MAX):
            instruments[instrument.symbol] = instrument
            self._valuation.listed(instrument)
        return (append(self._state.audit, RECORDS[ListInstrument](message), message.time_ns),)

    def _recorder(self, record_of: Callable[[Message], Record]) -> Handler:
        def record(message: Message) -> Sequence[Message]:
            return (append(self._state.audit, record_of(message), message.time_ns),)

        return record

    # Commands

    def _on_open_account(self, command: OpenAccount) -> Sequence[Message]:
        """Checks, in order: the fields, that the account is new, that there is room for it."""
        problem = problem_with(command)
        if problem:
            return (_refused(command, Reason.INVALID_VALUE, problem),)
        accounts = self._state.accounts
        if command.account in accounts:
            return (_refused(command, Reason.ACCOUNT_EXISTS, f"account {command.account}"),)
        if len(accounts) >= ACCOUNTS_MAX:
            return (_refused(command, Reason.OVERLOADED, f"the desk has its {ACCOUNTS_MAX} accounts"),)
        account = accounts[command.account] = new_account(command)
        detail = f"{account.account_kind.value}, identity check {account.kyc.value}"
        if account.operator:
            detail += f", operator {account.operator}"
        return self._changed(command, account, "account.opened", detail)

    def _on_review_kyc(self, command: ReviewKyc) -> Sequence[Message]:
        """Checks, in order: the note, the account, the transition."""
        account = self._account(command, command.account, command.note)
        if isinstance(account, Answer):
            return (account,)
        before = account.kyc
        if not kyc_may_move(before, command.state):
            detail = f"from {before.value} it moves to {kyc_moves_from(before)}, not to {command.state.value}"
            return (_refused(command, Reason.KYC_TRANSITION_NOT_ALLOWED, detail),)
        account.kyc = command.state
        return self._changed(
            command, account, "account.kyc_reviewed", _noted(f"{before.value} to {command.state.value}", command.note)
        )

    def _on_sanctions_hold(self, command: SetSanctionsHold) -> Sequence[Message]:
        """Checks, in order: the note, the account."""
        account = self._account(command, command.account, command.note)
        if isinstance(account, Answer):
            return (account,)
        if account.sanctions_hold == command.held:
            return (_unchanged(command),)
        account.sanctions_hold = command.held
        action = "account.sanctions_hold_set" if command.held else "account.sanctions_hold_lifted"
        return self._changed(command, account, action, command.note)

    def _on_account_block(self, command: SetAccountBlock) -> Sequence[Message]:
        """Checks, in order: the note, the account."""
        account = self._account(command, command.account, command.note)
        if isinstance(account, Answer):
            return (account,)
        if account.blocked == command.blocked:
            return (_unchanged(command),)
        account.blocked = command.blocked
        return self._changed(
            command, account, "account.blocked" if command.blocked else "account.unblocked", command.note
        )

    def _on_restrict(self, command: RestrictInstrument) -> Sequence[Message]:
        """Checks, in order: the note, the account, the symbol (one that is restricted may always be lifted)."""
        state = self._state
        account: Account | None = None
        if command.account == EVERY_ACCOUNT:
            if problem := _note_problem(command.note):
                return (_refused(command, Reason.INVALID_VALUE, problem),)
            restricted = state.restricted_for_all
        else:
            found = self._account(command, command.account, command.note)
            if isinstance(found, Answer):
                return (found,)
            account, restricted = found, found.restricted_symbols
        if command.symbol not in restricted and command.symbol not in state.instruments:
            return (_refused(command, Reason.SYMBOL_NOT_FOUND, f"instrument {command.symbol}"),)
        if (command.symbol in restricted) == command.restricted:
            return (_unchanged(command),)
        if command.restricted:
            restricted.add(command.symbol)
        else:
            restricted.discard(command.symbol)
        action = "instrument.restricted" if command.restricted else "instrument.restriction_lifted"
        detail = _noted(command.symbol, command.note)
        if account is not None:
            return self._changed(command, account, action, detail)
        entry = append(
            self._state.audit,
            Record(command.actor or DESK, action, f"account:{EVERY_ACCOUNT}", detail),
            command.time_ns,
        )
        standings = [self._standing(state.accounts[name], command.time_ns) for name in sorted(state.accounts)]
        return (_done(command), *standings, entry)

    def _on_review_alert(self, command: ReviewAlert) -> Sequence[Message]:
        """Checks, in order: the note, the alert, the disposition."""
        if problem := _note_problem(command.note):
            return (_refused(command, Reason.INVALID_VALUE, problem),)
        alert, reason, detail = self._alerts.review(command.alert_id, command.disposition, time_ns=command.time_ns)
        if alert is None:
            return (_refused(command, reason, detail),)
        text = _noted(f"{alert.status}, account {alert.account}", command.note)
        record = Record(command.actor or DESK, "alert.reviewed", f"alert:{alert.alert_id}", text)
        return (_done(command), alert, append(self._state.audit, record, command.time_ns))

    def _on_rules(self, command: SetComplianceRules) -> Sequence[Message]:
        """Takes every set of rules that can be; the windows are counted afresh where their length changed."""
        state, rules = self._state, command.rules
        if rules == state.rules:
            return (_unchanged(command),)
        if rules.rapid_trades_window_seconds != state.rules.rapid_trades_window_seconds:
            for activity in self._activities.by_account.values():
                activity.trade_buckets.clear()
                activity.trades_in_window = 0
        changes = ", ".join(
            f"{name} {getattr(state.rules, name)} to {getattr(rules, name)}"
            for name in rules.__struct_fields__
            if getattr(rules, name) != getattr(state.rules, name)
        )
        state.rules = rules
        self._valuation, self._monitor = _derived(state, self._activities)
        record = Record(command.actor or DESK, "rules.changed", "rules:transactions", changes)
        return (_done(command), append(self._state.audit, record, command.time_ns))

    # Helpers

    def _account(self, command: Command, name: str, note: str) -> Account | Answer:
        """The account a command is about, or the refusal: a note that is too long, an account that is not there."""
        if problem := _note_problem(note):
            return _refused(command, Reason.INVALID_VALUE, problem)
        account = self._state.accounts.get(name)
        return _refused(command, Reason.ACCOUNT_NOT_FOUND, f"account {name}") if account is None else account

    def _changed(self, command: Command, account: Account, action: str, detail: str) -> Sequence[Message]:
        record = Record(command.actor or DESK, action, f"account:{account.account}", detail)
        return (
            _done(command),
            self._standing(account, command.time_ns),
            append(self._state.audit, record, command.time_ns),
        )

    def _standing(self, account: Account, time_ns: int) -> Message:
        return account.standing(restricted_for_all=self._state.restricted_for_all, time_ns=time_ns)


def _derived(state: ComplianceState, activities: Activities) -> tuple[Valuation, TransactionMonitor]:
    """What follows from the state and is not part of it."""
    valuation = Valuation(state.rules.valuation_asset, state.instruments, state.marks)
    return valuation, TransactionMonitor(state.rules, activities, valuation)


def _done(command: Command) -> Answer:
    return Answer(time_ns=command.time_ns, request_id=command.request_id)


def _unchanged(command: Command) -> Answer:
    return Answer(time_ns=command.time_ns, request_id=command.request_id, duplicate=True)


def _refused(command: Command, reason: Reason, detail: str) -> Answer:
    return Answer(time_ns=command.time_ns, request_id=command.request_id, reason=reason, detail=detail)


def _noted(text: str, note: str) -> str:
    return f"{text}: {note}" if note else text


def _note_problem(note: str) -> str:
    return f"note: at most {NOTE_CHARACTERS_MAX} characters" if len(note) > NOTE_CHARACTERS_MAX else ""
