"""Reading the audit log: at the instance that keeps it, and at any other that has its key and its checkpoints.

The record is in the database, which every instance reads. The key and the checkpoints are files, and lie where the
keeper's data directory can be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from polaris_synapse.compliance.audit import AuditReport, AuditVerifier
from polaris_synapse.compliance.checkpoints import (
    Checkpoint,
    load_or_make_key,
    load_public_key,
    public_key_path,
    read_checkpoints,
)
from polaris_synapse.compliance.records import PAGE_ROWS_MAX, ComplianceRecords
from polaris_synapse.compliance.settings import ComplianceSettings
from polaris_synapse.domain.messages import AuditEntry

#: What is said where the key is not.
KEPT_ELSEWHERE: Final = (
    "The key of the audit log is not here: it was not opened yet, or another instance of compliance-gateway keeps it "
    "on another machine; ask that one."
)


class AuditKeyMissingError(RuntimeError):
    """The key of the audit log does not lie here: nothing was kept here yet, or another machine keeps it."""


class AuditReader:
    """Verifies the record against the checkpoints on file, and shows these. It changes nothing."""

    def __init__(self, records: ComplianceRecords, settings: ComplianceSettings) -> None:
        self._records = records
        self._settings = settings
        self._verifying = anyio.CapacityLimiter(1)

    @property
    def is_verifying(self) -> bool:
        """Whether a verification is under way."""
        return self._verifying.borrowed_tokens > 0

    def has_key(self) -> bool:
        """Whether the key, or its public half, lies here."""
        path = self._settings.signing_key_file
        return path.exists() or public_key_path(path).exists()

    async def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints on file. Raises CheckpointError where the file is not what was written."""
        return await to_thread.run_sync(read_checkpoints, self._settings.checkpoint_file)

    async def public_key_pem(self) -> str:
        """The key that checkpoints verify with, as PEM text. Raises AuditKeyMissingError and CheckpointError."""
        key = await to_thread.run_sync(_public_key, self._settings.signing_key_file)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")

    async def verify(self) -> AuditReport:
        """Verify the whole record; one verification at a time.

        Raises AuditKeyMissingError, CheckpointError, and ReadModelsLagError where the record cannot be read now.
        """
        async with self._verifying:
            key = await to_thread.run_sync(_public_key, self._settings.signing_key_file)
            # The checkpoints first: what they were signed over is in the record by the time that it is read.
            verifier = AuditVerifier(await self.checkpoints(), key)
            await self._records.caught_up()
            after = 0
            while not verifier.finding:
                page = await self._records.audit_entries(after_sequence=after, limit=PAGE_ROWS_MAX)
                if not page:
                    break
                await to_thread.run_sync(_feed, verifier, page)
                after = max(after + 1, page[-1].sequence)
            return verifier.report()


def _public_key(signing_key_file: Path) -> Ed25519PublicKey:
    """The private key's own public half, or the copy of it on a machine that was given no more."""
    if signing_key_file.exists():
        return load_or_make_key(signing_key_file).public_key()
    public = public_key_path(signing_key_file)
    if not public.exists():
        raise AuditKeyMissingError
    return load_public_key(public)


def _feed(verifier: AuditVerifier, page: Sequence[AuditEntry]) -> None:
    for entry in page:
        verifier.feed(entry)
