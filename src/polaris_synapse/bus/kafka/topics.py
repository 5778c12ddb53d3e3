"""The topics as the brokers should have them: partitions, replicas, retention, compaction. Declared here, made by
``polaris topics apply``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from polaris_synapse.bus.kafka.settings import KafkaHostSettings
from polaris_synapse.domain import topics as t
from polaris_synapse.domain.topics import COMMAND_TOPICS, INBOXES, ROUTES

#: Commands about instruments that risk has accepted: the host says them, since no core does. See partition.
INSTRUMENTS: Final = "instruments.accepted"
_HOUR_MS: Final = 3_600_000
#: Answers are read at once or never.
_ANSWERS_MS: Final = _HOUR_MS
_FOREVER_MS: Final = -1


class TopicCounts(Struct, frozen=True, kw_only=True):
    """How many partitions. They are part of what the log means, so they cannot change while the topics live.

    Compliance and agents have one each: there is one audit chain, and an agent looks at all markets and its accounts
    at once.
    """

    risk: int = 4
    matching: int = 4
    execution: int = 4
    market_data: int = 4
    compliance: int = 1
    agents: int = 1
    answers: int = 8
    facts: int = 4


class TopicSpec(Struct, frozen=True, kw_only=True):
    """A topic as it should be. ``retention_ms`` -1: for ever. ``compacted``: the newest message of each key stays."""

    name: str
    partitions: int
    replicas: int
    retention_ms: int = _FOREVER_MS
    compacted: bool = False

    def config(self) -> dict[str, str]:
        """What the brokers call it."""
        return {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "retention.ms": str(self.retention_ms),
            "min.insync.replicas": str(2 if self.replicas >= 3 else 1),
            "unclean.leader.election.enable": "false",
            "message.timestamp.type": "LogAppendTime",
        }


class TopicChange(Struct, frozen=True, kw_only=True):
    """One difference between what is declared and what the brokers have.

    ``action``: ``create``, ``configure``, or ``refuse`` for what cannot be changed without losing the log's meaning.
    """

    topic: str
    action: str
    detail: str


class TopicsError(RuntimeError):
    """The topics cannot be made as they are declared, or cannot be used as they are."""


#: Facts whose consumers need little of the past; everything else is kept as long as ``facts_hours`` says.
_SHORT_LIVED: Final = frozenset({t.MARKET_DATA_NORMALIZED, t.MARKET_DATA_MARKS, t.SYSTEM_HEARTBEATS})
_SHORT_MS: Final = 6 * _HOUR_MS
#: Facts that are the whole truth about their key.
COMPACTED: Final = frozenset({t.COMPLIANCE_DECISIONS})
#: Facts of the rooms with one partition, in whose order somebody reads them.
_SINGLE: Final = frozenset(
    {t.AUDIT, t.COMPLIANCE_DECISIONS, t.COMPLIANCE_ALERTS, t.TRADING_DECISIONS, t.SYSTEM_HEARTBEATS, INSTRUMENTS}
)


def topic_specs(
    counts: TopicCounts, *, replicas: int, inbox_hours: int = 7 * 24, facts_hours: int = 7 * 24
) -> tuple[TopicSpec, ...]:
    """Every topic of the desk. An inbox must be kept longer than the oldest snapshot that one may start from."""
    inboxes = {inbox: getattr(counts, inbox.removesuffix(".inbox")) for inbox in INBOXES}
    found = [
        TopicSpec(name=name, partitions=partitions, replicas=replicas, retention_ms=inbox_hours * _HOUR_MS)
        for name, partitions in inboxes.items()
    ]
    facts = {topic for route in ROUTES.values() for topic in route.topics} | {t.SYSTEM_HEARTBEATS, INSTRUMENTS}
    names = sorted(facts - set(INBOXES) - COMMAND_TOPICS)
    found += [_fact_spec(name, counts, replicas=replicas, facts_hours=facts_hours) for name in names]
    return tuple(found)


def _fact_spec(name: str, counts: TopicCounts, *, replicas: int, facts_hours: int) -> TopicSpec:
    if name == t.ANSWERS:
        return TopicSpec(name=name, partitions=counts.answers, replicas=replicas, retention_ms=_ANSWERS_MS)
    partitions = 1 if name in _SINGLE else counts.facts
    if name in COMPACTED:
        return TopicSpec(name=name, partitions=partitions, replicas=replicas, compacted=True)
    if name == INSTRUMENTS:
        return TopicSpec(name=name, partitions=partitions, replicas=replicas)
    retention_ms = _SHORT_MS if name in _SHORT_LIVED else facts_hours * _HOUR_MS
    return TopicSpec(name=name, partitions=partitions, replicas=replicas, retention_ms=retention_ms)


def partition_counts(specs: Sequence[TopicSpec]) -> dict[str, int]:
    """How many partitions each topic has, by its name without a prefix."""
    return {spec.name: spec.partitions for spec in specs}


class Topics:
    """The declared topics beside those of the brokers. Blocking: for commands and for a start-up thread."""

    def __init__(self, settings: KafkaHostSettings, specs: Sequence[TopicSpec]) -> None:
        from confluent_kafka import admin

        self._settings = settings
        self._specs = tuple(specs)
        # The package does not declare what it exports.
        self._kinds: Any = admin
        self._admin: Any = admin.AdminClient(settings.admin())

    def show(self) -> dict[str, int]:
        """The partitions of each declared topic that exists, by its name. Raises TopicsError."""
        from confluent_kafka import KafkaException

        try:
            found = self._admin.list_topics(timeout=self._settings.broker_seconds_max).topics
        except KafkaException as error:
            raise TopicsError(
                f"no broker answers at {self._settings.bootstrap}: {error.args[0].str()}; check bus.kafka.bootstrap"
            ) from None
        names = {self._settings.topic(spec.name): spec.name for spec in self._specs}
        return {names[name]: len(topic.partitions) for name, topic in found.items() if name in names}

    def diff(self) -> list[TopicChange]:
        """What would have to change. Raises TopicsError."""
        existing = self.show()
        changes: list[TopicChange] = []
        configs = self._configs([spec.name for spec in self._specs if spec.name in existing])
        for spec in self._specs:
            partitions = existing.get(spec.name)
            if partitions is None:
                detail = f"{spec.partitions} partitions, {spec.replicas} replicas"
                changes.append(TopicChange(topic=spec.name, action="create", detail=detail))
                continue
            if partitions != spec.partitions:
                detail = f"it has {partitions} partitions, {spec.partitions} are declared; a key would change its place"
                changes.append(TopicChange(topic=spec.name, action="refuse", detail=detail))
            wrong = {
                name: f"{configs[spec.name].get(name)} to {value}"
                for name, value in spec.config().items()
                if configs[spec.name].get(name) != value
            }
            if wrong:
                detail = ", ".join(f"{name} {change}" for name, change in sorted(wrong.items()))
                changes.append(TopicChange(topic=spec.name, action="configure", detail=detail))
        return changes

    def apply(self) -> list[TopicChange]:
        """Make and change topics, and return what was done. Raises TopicsError, and then nothing was changed."""
        changes = self.diff()
        refused = [change for change in changes if change.action == "refuse"]
        if refused:
            raise TopicsError("; ".join(f"{change.topic}: {change.detail}" for change in refused))
        specs = {spec.name: spec for spec in self._specs}
        self._create([specs[change.topic] for change in changes if change.action == "create"])
        self._configure([specs[change.topic] for change in changes if change.action == "configure"])
        return changes

    def _configs(self, names: Sequence[str]) -> Mapping[str, dict[str, str]]:
        if not names:
            return {}
        resources = {
            name: self._kinds.ConfigResource(self._kinds.ResourceType.TOPIC, self._settings.topic(name))
            for name in names
        }
        futures = self._admin.describe_configs(list(resources.values()))
        found = {resource.name: future for resource, future in futures.items()}
        return {
            name: {key: entry.value for key, entry in self._result(found[resource.name]).items()}
            for name, resource in resources.items()
        }

    def _create(self, specs: Sequence[TopicSpec]) -> None:
        if not specs:
            return
        wanted = [
            self._kinds.NewTopic(
                self._settings.topic(spec.name),
                num_partitions=spec.partitions,
                replication_factor=spec.replicas,
                config=spec.config(),
            )
            for spec in specs
        ]
        for future in self._admin.create_topics(wanted).values():
            self._result(future, unless="TOPIC_ALREADY_EXISTS")

    def _configure(self, specs: Sequence[TopicSpec]) -> None:
        if not specs:
            return
        resources = [
            self._kinds.ConfigResource(
                self._kinds.ResourceType.TOPIC,
                self._settings.topic(spec.name),
                incremental_configs=[
                    self._kinds.ConfigEntry(name, value, incremental_operation=self._kinds.AlterConfigOpType.SET)
                    for name, value in spec.config().items()
                ],
            )
            for spec in specs
        ]
        for future in self._admin.incremental_alter_configs(resources).values():
            self._result(future)

    def _result(self, future: Any, *, unless: str = "") -> Any:
        from confluent_kafka import KafkaException

        try:
            return future.result(timeout=self._settings.broker_seconds_max)
        except KafkaException as error:
            if unless and error.args[0].name() == unless:
                return None
            raise TopicsError(f"the brokers refuse: {error.args[0].str()}") from None
        except TimeoutError:
            raise TopicsError(f"the brokers did not answer within {self._settings.broker_seconds_max:g} s") from None
