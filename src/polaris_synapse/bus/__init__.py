"""The bus: the contract of a core, the hosts that feed cores, the journal and its snapshots."""
