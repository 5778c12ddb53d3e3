"""The keeper of the audit log: follows the chain, writes it to files and signs checkpoints over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import anyio
import structlog
from anyio import to_thread
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from polaris_synapse.bus.clock import Clock
from polaris_synapse.compliance.audit_log import AuditLog, AuditLogError
from polaris_synapse.compliance.checkpoints import (
    Checkpoint,
    CheckpointError,
    append_checkpoint,
    drop_torn_line,
    load_or_make_key,
    problem_between,
    read_checkpoints,
    sign_checkpoint,
    signature_holds,
)
from polaris_synapse.compliance.core.audit_chain import genesis_hash, hash_of
from polaris_synapse.compliance.merkle import MerkleFrontier
from polaris_synapse.compliance.metrics import ComplianceMetrics
from polaris_synapse.compliance.records import PAGE_ROWS_MAX, ComplianceRecords
from polaris_synapse.compliance.settings import ComplianceSettings
from polaris_synapse.domain.messages import AuditEntry
from polaris_synapse.storage.port import ReadModelsLagError

_log = structlog.get_logger(__name__)
_NOT_OPENED: Final = "the audit log has not been opened yet"


class AuditKeeper:
    """Takes entries in order, each once, and never signs for a log that contradicts what it signed for before.

    ``problem`` is None while all is well, else one sentence. Once the log contradicts its past, nothing more is
    written or signed, because that is for a person to look at. Files that cannot be written are tried again. The desk
    trades on either way: the chain itself lives in the core's log.
    """

    def __init__(
        self, clock: Clock, records: ComplianceRecords, settings: ComplianceSettings, metrics: ComplianceMetrics
    ) -> None:
        self._clock = clock
        self._records = records
        self._settings = settings
        self._metrics = metrics
        self._log = AuditLog(settings.audit_directory)
        self._key: Ed25519PrivateKey | None = None
        self._tree = MerkleFrontier()
        self._head_hash = genesis_hash()
        self._checkpoint: Checkpoint | None = None
        self._lock = anyio.Lock()
        self._contradiction: str | None = _NOT_OPENED
        self._file_problem: str | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong, in one sentence, or None."""
        return self._contradiction or self._file_problem

    @property
    def last_sequence(self) -> int:
        """The sequence of the last entry taken; 0 for none."""
        return self._tree.size

    @property
    def public_key(self) -> Ed25519PublicKey:
        """The key that checkpoints verify with. Only after ``open``."""
        assert self._key is not None, _NOT_OPENED
        return self._key.public_key()

    async def open(self) -> None:
        """Load the key, the checkpoints and the end of the files, and compare them with the record.

        Raises OSError, CheckpointError for a key that cannot be used, and ReadModelsLagError where the record cannot
        be read now, after which ``open`` may be called again. Anything else becomes ``problem``.
        """
        self._key = await to_thread.run_sync(load_or_make_key, self._settings.signing_key_file)
        self._contradiction = None
        try:
            await self._open_checkpoints()
            await to_thread.run_sync(self._log.open)
        except (CheckpointError, AuditLogError) as error:
            self._give_up(str(error))
            return
        try:
            await self._compare_with_record()
        except ReadModelsLagError:
            self._contradiction = _NOT_OPENED
            raise

    async def _open_checkpoints(self) -> None:
        torn = await to_thread.run_sync(drop_torn_line, self._settings.checkpoint_file)
        if torn:
            _log.warning("a checkpoint was cut short by a crash and is dropped", bytes=torn)
        checkpoints = await to_thread.run_sync(read_checkpoints, self._settings.checkpoint_file)
        previous: Checkpoint | None = None
        for checkpoint in checkpoints:
            problem = problem_between(previous, checkpoint)
            if not problem and not signature_holds(checkpoint, self.public_key):
                problem = f"checkpoint {checkpoint.number} was not signed by the desk's key"
            if problem:
                raise CheckpointError(problem)
            previous = checkpoint
        if previous is not None:
            self._checkpoint = previous
            self._tree = previous.tree()
            self._head_hash = previous.head_hash
            self._metrics.checkpoint(previous.size)

    async def _compare_with_record(self) -> None:
        """The record must hold the entry that the last checkpoint ends with, and the one the files end with."""
        await self._records.caught_up()
        ends = [(self._log.last_sequence, self._log.last_hash, "the last line of the audit files")]
        if self._checkpoint is not None:
            name = f"checkpoint {self._checkpoint.number}"
            ends.append((self._checkpoint.size, self._checkpoint.head_hash, name))
        for sequence, digest, name in ends:
            if sequence:
                found = await self._records.audit_entries(after_sequence=sequence - 1, limit=1)
                if not found or found[0].sequence != sequence:
                    self._give_up(f"{name} is entry {sequence}, which the record no longer has")
                elif found[0].entry_hash != digest:
                    self._give_up(f"entry {sequence} of the record is not the one of {name}: it was written anew")

    async def catch_up(self) -> None:
        """Take whatever the record has beyond what was taken, files included."""
        await self._records.caught_up()
        while self._contradiction is None:
            after = min(self._tree.size, self._log.last_sequence)
            page = await self._records.audit_entries(after_sequence=after, limit=PAGE_ROWS_MAX)
            if not page:
                return
            if page[0].sequence != after + 1:
                self._give_up(f"the record goes from entry {after} to entry {page[0].sequence}")
                return
            await self.take(page)
            if self._file_problem is not None:
                return

    async def take(self, entries: Sequence[AuditEntry]) -> None:
        """Take entries: those that were taken before are skipped, a gap is filled from the record first."""
        if self._contradiction is not None or not entries:
            return
        if entries[0].sequence > min(self._tree.size, self._log.last_sequence) + 1:
            await self.catch_up()
            if self._file_problem is not None:
                return
        async with self._lock:
            before = self._tree.size
            for entry in entries:
                if entry.sequence > self._tree.size and not self._follows(entry):
                    break
            fresh = [entry for entry in entries if self._log.last_sequence < entry.sequence <= self._tree.size]
            try:
                # A gap to what the files hold is left to catch_up, which reads it from the record.
                if fresh and fresh[0].sequence == self._log.last_sequence + 1:
                    await to_thread.run_sync(self._log.append, fresh)
                    self._file_problem = None
            except OSError as error:
                self._files_fail(error)
            self._metrics.entries(self._tree.size - before, self._tree.size)
        if self._tree.size - self._signed_size >= self._settings.checkpoint_entries:
            await self.sign()

    def _follows(self, entry: AuditEntry) -> bool:
        """Let the tree grow by an entry, or find that it does not belong there."""
        if entry.sequence != self._tree.size + 1:
            self._give_up(f"entry {entry.sequence} came after entry {self._tree.size}")
        elif entry.previous_hash != self._head_hash or hash_of(entry) != entry.entry_hash:
            self._give_up(f"entry {entry.sequence} does not continue the chain")
        else:
            self._tree.append(bytes.fromhex(entry.entry_hash))
            self._head_hash = entry.entry_hash
            return True
        return False

    @property
    def _signed_size(self) -> int:
        return 0 if self._checkpoint is None else self._checkpoint.size

    async def sign(self) -> Checkpoint | None:
        """Sign a checkpoint over what was taken, unless the last one covers it already."""
        async with self._lock:
            behind = self._log.last_sequence < self._tree.size
            if self._contradiction is not None or behind or self._tree.size == self._signed_size:
                return None
            assert self._key is not None, _NOT_OPENED
            previous_time_ns = 0 if self._checkpoint is None else self._checkpoint.time_ns
            checkpoint = sign_checkpoint(
                self._key,
                self._checkpoint,
                tree=self._tree,
                head_hash=self._head_hash,
                time_ns=max(self._clock.now_ns(), previous_time_ns),
            )
            # The files first: a checkpoint never speaks of entries that a crash could take from them.
            try:
                await to_thread.run_sync(self._log.sync)
                await to_thread.run_sync(append_checkpoint, self._settings.checkpoint_file, checkpoint)
            except OSError as error:
                self._files_fail(error)
                return None
            self._file_problem = None
            self._checkpoint = checkpoint
            self._metrics.checkpoint(checkpoint.size)
        _log.info("audit checkpoint signed", number=checkpoint.number, entries=checkpoint.size)
        return checkpoint

    async def sign_regularly(self) -> None:
        """Sign every ``checkpoint_seconds``, until cancelled."""
        while True:
            await self._clock.sleep(self._settings.checkpoint_seconds)
            if self._file_problem is not None:
                await self.catch_up()
            await self.sign()

    async def close(self) -> None:
        """Sign for the rest and let go of the files."""
        await self.sign()
        await to_thread.run_sync(self._log.close)

    def _files_fail(self, error: OSError) -> None:
        if self._file_problem is None:
            _log.error("audit files cannot be written", problem=error.strerror)
        self._file_problem = f"The audit files cannot be written: {error.strerror}."

    def _give_up(self, problem: str) -> None:
        if self._contradiction is None:
            self._contradiction = f"The audit log does not continue what was signed for: {problem}."
            self._metrics.broken()
            _log.critical("audit log does not verify", problem=problem)
