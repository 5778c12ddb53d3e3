"""Transfers of ether and of tokens to and from labelled addresses, block by block and only when they are confirmed.

Read are: amounts, addresses, hashes and times. What a token calls itself, what a transaction carries as data, and the
text of a node's errors are never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from polaris_synapse.agents.sources.fetch import Fetcher
from polaris_synapse.agents.sources.port import (
    BlockRef,
    Direction,
    Failure,
    Flow,
    Polled,
    SourceError,
    SourceState,
)
from polaris_synapse.agents.sources.rpc import Rpc, fixed_hex, malformed, quantity
from polaris_synapse.agents.sources.settings import ChainAsset, ChainSettings
from polaris_synapse.bus.clock import Clock

_NS: Final = 1_000_000_000
#: keccak256("Transfer(address,address,uint256)")
_TRANSFER: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
_SUCCESS: Final = 1


class _Block(Struct, frozen=True):
    height: int
    hash: str
    parent: str
    time_ns: int
    transactions: list[Any]


class EthereumSource:
    """See the module. On its first poll it begins at the newest confirmed block: history is not news."""

    kind = "ethereum"

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
        self._addresses = {one.address.lower(): one for one in chain.addresses}
        self._coin = next((asset for asset in chain.assets if not asset.contract), None)
        self._tokens = {asset.contract.lower(): asset for asset in chain.assets if asset.contract}
        self._checked = False

    async def poll(self, state: SourceState, /) -> Polled:
        """See Source."""
        await self._check_chain()
        head = quantity(await self._rpc.call("eth_blockNumber"), "block number")
        confirmed = head - self._chain.confirmations
        if confirmed < 0:
            return Polled(events=(), state=state, unchanged=True)
        if not state.blocks:
            begin = await self._block(confirmed)
            return Polled(events=(), state=replace(state, blocks=(BlockRef(begin.height, begin.hash),)))
        blocks = await self._common(state.blocks)
        events: list[Flow] = []
        last = min(confirmed, blocks[-1].height + self._chain.blocks_per_poll_max)
        for height in range(blocks[-1].height + 1, last + 1):
            block = await self._block(height)
            if block.parent != blocks[-1].hash:
                # The chain changed while it was read; the next poll goes back to where both agree.
                break
            events += await self._flows(block)
            blocks = (*blocks, BlockRef(block.height, block.hash))[-self._kept :]
        return Polled(events=tuple(events), state=replace(state, blocks=blocks), unchanged=not events)

    @property
    def _kept(self) -> int:
        return self._chain.confirmations + self._chain.blocks_per_poll_max

    async def _check_chain(self) -> None:
        """Addresses mean something else on another chain."""
        if self._checked:
            return
        if quantity(await self._rpc.call("eth_chainId"), "chain id") != self._chain.chain_id:
            raise SourceError(
                Failure.WRONG_CHAIN,
                f"The node serves another chain than {self._chain.chain_id}; check url or chain_id.",
            )
        self._checked = True

    async def _common(self, blocks: tuple[BlockRef, ...]) -> tuple[BlockRef, ...]:
        """The blocks up to the newest that the chain still has: deeper reorganisations than were waited for happen."""
        while blocks:
            if (await self._block(blocks[-1].height)).hash == blocks[-1].hash:
                return blocks
            blocks = blocks[:-1]
        raise SourceError(
            Failure.REORGANISED,
            "The chain no longer has any of the blocks that were worked off; stop the desk and delete "
            "sources.json in its data directory to begin at the newest block.",
        )

    async def _block(self, height: int) -> _Block:
        found = await self._rpc.call("eth_getBlockByNumber", hex(height), True)
        if not isinstance(found, dict) or quantity(found.get("number"), "block number") != height:
            raise malformed("block")
        transactions = found.get("transactions")
        if not isinstance(transactions, list):
            raise malformed("list of transactions")
        return _Block(
            height,
            fixed_hex(found.get("hash"), 64, "block hash"),
            fixed_hex(found.get("parentHash"), 64, "parent hash"),
            quantity(found.get("timestamp"), "block time") * _NS,
            transactions,
        )

    async def _flows(self, block: _Block) -> list[Flow]:
        flows = [flow for one in block.transactions for flow in await self._coin_flows(one, block)]
        if self._tokens:
            flows += await self._token_flows(block)
        return flows

    async def _coin_flows(self, transaction: Any, block: _Block) -> list[Flow]:
        if self._coin is None or not isinstance(transaction, dict) or transaction.get("to") is None:
            return []
        amount = quantity(transaction.get("value"), "value of a transaction")
        sender = fixed_hex(transaction.get("from"), 40, "sender")
        receiver = fixed_hex(transaction.get("to"), 40, "receiver")
        if amount < self._coin.amount_units_min or not {sender, receiver} & self._addresses.keys():
            return []
        transaction_hash = fixed_hex(transaction.get("hash"), 64, "transaction hash")
        receipt = await self._rpc.call("eth_getTransactionReceipt", transaction_hash)
        if not isinstance(receipt, dict):
            raise malformed("receipt")
        if quantity(receipt.get("status"), "status of a receipt") != _SUCCESS:
            # A transaction that failed stays in its block and moves nothing.
            return []
        return self._both_ends(self._coin, sender, receiver, amount, transaction_hash, "coin", block)

    async def _token_flows(self, block: _Block) -> list[Flow]:
        ours = [_as_topic(address) for address in self._addresses]
        flows: dict[str, Flow] = {}
        for topics in ([_TRANSFER, ours], [_TRANSFER, None, ours]):
            query = {"blockHash": block.hash, "address": list(self._tokens), "topics": topics}
            logs = await self._rpc.call("eth_getLogs", query)
            if not isinstance(logs, list):
                raise malformed("list of logs")
            for log in logs:
                for flow in self._log_flows(log, block):
                    flows.setdefault(flow.digest, flow)
        return list(flows.values())

    def _log_flows(self, log: Any, block: _Block) -> list[Flow]:
        if not isinstance(log, dict) or log.get("removed"):
            return []
        asset = self._tokens.get(fixed_hex(log.get("address"), 40, "token"))
        topics = log.get("topics")
        # An NFT's transfer has its number as a fourth topic; it is no amount.
        if asset is None or not isinstance(topics, list) or len(topics) != 3 or topics[0] != _TRANSFER:
            return []
        if fixed_hex(log.get("blockHash"), 64, "block hash") != block.hash:
            raise malformed("log of that block")
        amount = quantity(fixed_hex(log.get("data"), 64, "amount of a transfer"), "amount of a transfer")
        sender, receiver = (_from_topic(topic) for topic in topics[1:])
        if amount < asset.amount_units_min:
            return []
        transaction_hash = fixed_hex(log.get("transactionHash"), 64, "transaction hash")
        index = f"log {quantity(log.get('logIndex'), 'index of a log')}"
        return self._both_ends(asset, sender, receiver, amount, transaction_hash, index, block)

    def _both_ends(
        self,
        asset: ChainAsset,
        sender: str,
        receiver: str,
        amount: int,
        transaction_hash: str,
        index: str,
        block: _Block,
    ) -> list[Flow]:
        """A flow for each end that is labelled; none between two addresses of the same label."""
        ends = ((sender, Direction.OUT), (receiver, Direction.IN))
        known = [(self._addresses[end], direction) for end, direction in ends if end in self._addresses]
        if len(known) == 2 and known[0][0].label == known[1][0].label:
            return []
        now_ns = self._clock.now_ns()
        return [
            Flow(
                source=self.name,
                chain=f"ethereum-{self._chain.chain_id}",
                asset=asset.code,
                decimals=asset.decimals,
                amount_units=amount,
                direction=direction,
                label=labelled.label,
                label_kind=labelled.kind,
                transaction=transaction_hash,
                index=index,
                height=block.height,
                published_time_ns=min(block.time_ns, now_ns),
                seen_time_ns=now_ns,
            )
            for labelled, direction in known
        ]


def _as_topic(address: str) -> str:
    return "0x" + address.removeprefix("0x").rjust(64, "0")


def _from_topic(topic: Any) -> str:
    return "0x" + fixed_hex(topic, 64, "address in a log")[-40:]
