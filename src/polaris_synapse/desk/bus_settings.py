"""Settings of the bus between services: where the brokers are and how the topics are cut."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from polaris_synapse.bus.kafka.settings import KafkaHostSettings
from polaris_synapse.bus.kafka.topics import TopicCounts, TopicSpec, topic_specs

Brokers = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9._\-]+:\d{1,5})(,[A-Za-z0-9._\-]+:\d{1,5})*$")]
Partitions = Annotated[int, Field(ge=1, le=1024)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PartitionsSection(_Section):
    """How many partitions each inbox has. They cannot change while the topics live: a key would change its place."""

    risk: Partitions = 4
    matching: Partitions = 4
    execution: Partitions = 4
    market_data: Partitions = 4
    facts: Partitions = 4
    answers: Partitions = 8


class KafkaSection(_Section):
    """The brokers of a desk that runs as services. ``options`` are librdkafka's own, such as those of TLS and SASL."""

    bootstrap: Brokers = "127.0.0.1:9092"
    topic_prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._\-]{0,64}$")] = ""
    replicas: int = Field(default=1, ge=1, le=7)
    partitions: PartitionsSection = PartitionsSection()
    inbox_hours: int = Field(default=168, ge=1)
    facts_hours: int = Field(default=168, ge=1)
    snapshot_interval_messages: int = Field(default=20_000, ge=100)
    request_timeout_seconds: float = Field(default=10.0, gt=0, le=120)
    session_seconds: float = Field(default=10.0, ge=1, le=300)
    options: dict[str, SecretStr] = {}


class BusSection(_Section):
    """The bus between services. A desk in one process (``polaris up``) needs none of it."""

    kafka: KafkaSection = KafkaSection()


def kafka_settings(section: KafkaSection) -> KafkaHostSettings:
    """The host's settings."""
    return KafkaHostSettings(
        bootstrap=section.bootstrap,
        topic_prefix=section.topic_prefix,
        options={name: value.get_secret_value() for name, value in section.options.items()},
        snapshot_interval_messages=section.snapshot_interval_messages,
        request_timeout_seconds=section.request_timeout_seconds,
        session_seconds=section.session_seconds,
    )


def declared_topics(section: KafkaSection) -> tuple[TopicSpec, ...]:
    """Every topic as the settings want it."""
    counts = section.partitions
    return topic_specs(
        TopicCounts(
            risk=counts.risk,
            matching=counts.matching,
            execution=counts.execution,
            market_data=counts.market_data,
            answers=counts.answers,
            facts=counts.facts,
        ),
        replicas=section.replicas,
        inbox_hours=section.inbox_hours,
        facts_hours=section.facts_hours,
    )
