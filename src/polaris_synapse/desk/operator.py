"""The operator's key: made at the first start, for the command line on this machine.

Where data directories have one store of keys in common, each has a key of its own, with an id of its own.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from polaris_synapse.bus.clock import Clock
from polaris_synapse.desk.place import operator_key_file
from polaris_synapse.order_gateway.credentials import ApiKey, KeptCredentials
from polaris_synapse.web.authentication import ALL_ACCOUNTS, Role
from polaris_synapse.web.signing import new_key, read_key_file, verifier_of, write_key_file

_KEY_ID = "operator"


def ensure_operator_key(directory: Path, store: KeptCredentials, clock: Clock) -> None:
    """Make the key where there is none, and make sure that the desk knows it. Raises KeyFileError."""
    path = operator_key_file(directory)
    if not path.exists():
        write_key_file(path, new_key(f"{_KEY_ID}-{secrets.token_hex(4)}" if store.shared else _KEY_ID))
    key = read_key_file(path)
    known = store.key(key.key_id)
    if known is not None and known.verifier == verifier_of(key) and not known.revoked:
        return
    store.put_key(
        ApiKey(
            key_id=key.key_id,
            algorithm=key.algorithm,
            verifier=verifier_of(key),
            role=Role.ADMIN,
            accounts=(ALL_ACCOUNTS,),
            owner="the command line on this machine",
            created_time_ns=clock.now_ns(),
        )
    )
