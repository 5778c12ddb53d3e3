"""Movements of SOL and of tokens at labelled Solana addresses, finalised ones only, from balances before and after.

Read are: balances, signatures, slots and times. Memos, instructions and names of tokens are never read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from polaris_synapse.agents.sources.fetch import Fetcher
from polaris_synapse.agents.sources.port import Direction, Flow, Polled, SourceState
from polaris_synapse.agents.sources.rpc import Rpc, malformed, whole
from polaris_synapse.agents.sources.settings import ChainSettings, LabelledAddress
from polaris_synapse.bus.clock import Clock

_NS: Final = 1_000_000_000
_PAGE: Final = 1_000
_SIGNATURE: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{64,88}")
_COMMITMENT: Final = "finalized"


class SolanaSource:
    """See the module. On its first poll it begins at each address's newest transaction: history is not news."""

    kind = "solana"

    def __init__(
        self,
        *,
        name: str,
        fetcher: Fetcher,
        clock: Clock,
        interval_seconds: int,
        chain: ChainSettings,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.interval_seconds = interval_seconds
        self._rpc = Rpc(fetcher, chain.url, headers or {})
        self._clock = clock
        self._chain = chain
        self._coin = next((asset for asset in chain.assets if not asset.contract), None)
        self._tokens = {asset.contract: asset for asset in chain.assets if asset.contract}

    async def poll(self, state: SourceState, /) -> Polled:
        """See Source."""
        events: list[Flow] = []
        marks = dict(state.marks)
        dropped = 0
        for labelled in self._chain.addresses:
            last = marks.get(labelled.address, "")
            signatures, skipped = await self._new_signatures(labelled.address, last)
            dropped += skipped
            if signatures:
                marks[labelled.address] = signatures[-1]
            elif not last:
                # An address without any history begins with whatever comes first.
                marks[labelled.address] = "-"
            if last:
                for signature in signatures:
                    events += await self._flows(signature, labelled)
        events.sort(key=lambda flow: (flow.height, flow.digest))
        state = replace(state, marks=marks)
        return Polled(events=tuple(events), state=state, dropped=dropped, unchanged=not events)

    async def _new_signatures(self, address: str, last: str) -> tuple[list[str], int]:
        """Successful transactions after ``last``, oldest first, and how many had to be left out for their number."""
        newest_first: list[str] = []
        failed: set[str] = set()
        skipped = 0
        before = ""
        maximum = self._chain.signatures_per_poll_max
        while True:
            limit = 1 if not last else min(_PAGE, maximum)
            options: dict[str, object] = {"limit": limit, "commitment": _COMMITMENT}
            options |= {"until": last} if last not in {"", "-"} else {}
            options |= {"before": before} if before else {}
            page = await self._rpc.call("getSignaturesForAddress", address, options)
            if not isinstance(page, list):
                raise malformed("list of signatures")
            for one in page:
                signature = one.get("signature") if isinstance(one, dict) else None
                if not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature):
                    raise malformed("signature")
                newest_first.append(signature)
                if one.get("err") is not None:
                    failed.add(signature)
            if not last or len(page) < limit:
                break
            before = newest_first[-1]
            if len(newest_first) >= maximum:
                # The older ones are left out and counted: the newest say more about now.
                skipped = 1
                break
        newest_first.reverse()
        # The newest signature is where the next poll goes on, so it stays even where its transaction failed.
        kept = [one for one in newest_first if one not in failed or one == newest_first[-1]]
        return kept, skipped

    async def _flows(self, signature: str, labelled: LabelledAddress) -> list[Flow]:
        options = {"encoding": "jsonParsed", "commitment": _COMMITMENT, "maxSupportedTransactionVersion": 0}
        found = await self._rpc.call("getTransaction", signature, options)
        if not isinstance(found, dict) or not isinstance(found.get("meta"), dict):
            raise malformed("transaction")
        meta = found["meta"]
        if meta.get("err") is not None:
            return []
        now_ns = self._clock.now_ns()
        slot = whole(found.get("slot"), "slot")
        time_ns = whole(found.get("blockTime"), "time of a block") * _NS
        changes = [(self._coin, self._coin_change(found, labelled.address))] if self._coin else []
        changes += [(asset, _token_change(meta, labelled.address, mint)) for mint, asset in self._tokens.items()]
        return [
            Flow(
                source=self.name,
                chain="solana",
                asset=asset.code,
                decimals=asset.decimals,
                amount_units=abs(change),
                direction=Direction.IN if change > 0 else Direction.OUT,
                label=labelled.label,
                label_kind=labelled.kind,
                transaction=signature,
                index=asset.contract or "coin",
                height=slot,
                published_time_ns=min(time_ns, now_ns),
                seen_time_ns=now_ns,
            )
            for asset, change in changes
            if change and abs(change) >= asset.amount_units_min
        ]

    @staticmethod
    def _coin_change(found: dict[str, Any], address: str) -> int:
        """What the address has more or less than before, in lamports, its own fee aside."""
        meta = found["meta"]
        keys = _account_keys(found)
        before, after = meta.get("preBalances"), meta.get("postBalances")
        if not isinstance(before, list) or not isinstance(after, list) or not len(keys) == len(before) == len(after):
            raise malformed("balances of a transaction")
        if address not in keys:
            return 0
        place = keys.index(address)
        fee = whole(meta.get("fee"), "fee") if place == 0 else 0
        return whole(after[place], "balance") - whole(before[place], "balance") + fee


def _account_keys(found: dict[str, Any]) -> list[str]:
    transaction = found.get("transaction")
    message = transaction.get("message") if isinstance(transaction, dict) else None
    keys = message.get("accountKeys") if isinstance(message, dict) else None
    if not isinstance(keys, list):
        raise malformed("list of accounts")
    named = [key.get("pubkey") if isinstance(key, dict) else key for key in keys]
    texts = [key for key in named if isinstance(key, str)]
    if len(texts) != len(named):
        raise malformed("list of accounts")
    return texts


def _token_change(meta: dict[str, Any], owner: str, mint: str) -> int:
    """What an owner has more or less of a token, in its minor unit, over all accounts of theirs."""
    return _held(meta.get("postTokenBalances"), owner, mint) - _held(meta.get("preTokenBalances"), owner, mint)


def _held(balances: Any, owner: str, mint: str) -> int:
    total = 0
    for one in balances if isinstance(balances, list) else []:
        if not isinstance(one, dict) or one.get("owner") != owner or one.get("mint") != mint:
            continue
        amount = one.get("uiTokenAmount")
        text = amount.get("amount") if isinstance(amount, dict) else None
        if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > 20:
            raise malformed("balance of a token")
        total += int(text)
    return total
