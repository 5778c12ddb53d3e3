"""What lets agents act without doing harm, put together: mandates, approvals, standing instructions, receipts."""

from __future__ import annotations

from pathlib import Path

from polaris_synapse.agents.approvals import Approvals
from polaris_synapse.agents.approvals_api import ApprovalViews, approval_routes
from polaris_synapse.agents.approvals_tokens import ApprovalTokens
from polaris_synapse.agents.authority import Authority
from polaris_synapse.agents.conversation.authority_talk import AuthorityTalk, HoldingLimits
from polaris_synapse.agents.conversation.ports import Trading
from polaris_synapse.agents.mandates_api import Mandates, mandate_routes
from polaris_synapse.agents.receipts import Signer
from polaris_synapse.agents.receipts_api import Receipts, receipt_routes
from polaris_synapse.agents.roster import Roster
from polaris_synapse.agents.settings import AgentsServiceSettings
from polaris_synapse.agents.standing import StandingDesk, StandingPlacement, StandingRoster
from polaris_synapse.agents.standing_api import standing_routes
from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus
from polaris_synapse.compliance.checkpoints import key_id_of, load_or_make_key
from polaris_synapse.desk.people import DeskPeople
from polaris_synapse.domain.money import Asset
from polaris_synapse.order_gateway.service import GatewayService
from polaris_synapse.storage.port import ReadModels
from polaris_synapse.web.routes import ApiRoute


class AuthorityRoom:
    """The parts, and their routes for the agents' service. ``secret`` signs approval tokens."""

    def __init__(
        self,
        *,
        bus: Bus,
        authority: Authority,
        gateway: GatewayService,
        reads: ReadModels,
        clock: Clock,
        valuation: Asset,
        secret: bytes,
        signing_key_file: Path,
        roster: Roster,
        standing_roster: StandingRoster,
    ) -> None:
        self._gateway = gateway
        self._reads = reads
        self._clock = clock
        self._bus = bus
        self._valuation = valuation
        self.approvals = Approvals(bus, authority, DeskPeople(gateway), ApprovalTokens(secret), clock)
        self.mandates = Mandates(
            bus=bus,
            authority=authority,
            roster=roster,
            instruments=reads.instruments,
            clock=clock,
            valuation=valuation,
        )
        self.standing = StandingDesk(bus, standing_roster, clock)
        self._signing_key_file = signing_key_file
        self.receipts = Receipts(reads, authority, clock, lambda: _signing(signing_key_file))
        self._views = ApprovalViews(self.approvals, reads.instruments, valuation)

    def missing_signing_key(self) -> Path | None:
        """Where the key that signs receipts should be and is not, or None while receipts are signed."""
        return None if self._signing_key_file.is_file() else self._signing_key_file

    def talk(self, roster: Roster, limits: HoldingLimits, trading: Trading) -> AuthorityTalk:
        """What conversations need."""
        return AuthorityTalk(
            bus=self._bus,
            reads=self._reads,
            trading=trading,
            approvals=self.approvals,
            mandates=self.mandates,
            standing=self.standing,
            holding_limits=limits,
            roster=roster,
            clock=self._clock,
            valuation=self._valuation,
        )

    def routes(self) -> list[ApiRoute]:
        """Every route."""
        authenticator = self._gateway.authenticator
        return [
            *approval_routes(self.approvals, self._views, authenticator),
            *mandate_routes(self.mandates, authenticator),
            *receipt_routes(self.receipts, authenticator),
            *standing_routes(self.standing, authenticator, self._reads.instruments, self._clock),
        ]


def _signing(path: Path) -> tuple[str, Signer] | None:
    """The desk's signing key, where it has one: compliance makes it when the desk starts."""
    if not path.is_file():
        return None
    key = load_or_make_key(path)
    return key_id_of(key.public_key()), lambda data: key.sign(data).hex()


def standing_placement(bus: Bus, gateway: GatewayService, clock: Clock) -> StandingPlacement:
    """What places the orders of standing instructions, through the same entry as everybody's."""
    return StandingPlacement(bus=bus, entry=DeskPeople(gateway), clock=clock, settings=AgentsServiceSettings())
