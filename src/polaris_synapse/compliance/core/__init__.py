"""The pure part of compliance: who may trade what, which transactions deserve a look, and the audit chain.

One idea a file. ``machine`` folds the inbox and calls the others: ``kyc`` and ``accounts`` decide an account's
standing, ``aml`` judges transactions over the windows of ``activity``, ``alerts`` keeps what awaits review, and
``audit_trail`` says what of all that happens is written into the chain of ``audit_chain``.

Screening lists belong beside ``kyc``, market surveillance beside ``aml`` (it is fed by the same executions and order
updates), cases beside ``alerts``.
"""

from polaris_synapse.compiled import compiled_folders

# Compiled modules, where they are there, come before their sources. So this stands before the first of them.
__path__ = [*compiled_folders(__name__), *__path__]

from polaris_synapse.compliance.core.machine import ComplianceCore

__all__ = ["ComplianceCore"]
