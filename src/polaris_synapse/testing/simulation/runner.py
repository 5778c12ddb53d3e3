"""Runs seeds, in several processes where asked to, and says what they found."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, Final

import structlog
from msgspec import Struct

from polaris_synapse.testing.simulation.checkers import Violation
from polaris_synapse.testing.simulation.world import World

STEPS_DEFAULT: Final = 60
#: Seeds that one task of a worker process runs at most.
_CHUNK_SEEDS: Final = 20


class SeedOutcome(Struct, frozen=True, kw_only=True):
    """One run. ``checker`` is empty where nothing was found; ``trace`` are its last messages, oldest first."""

    seed: int
    steps: int
    checker: str = ""
    detail: str = ""
    trace: tuple[str, ...] = ()
    fingerprint: str = ""
    counts: dict[str, int] = {}

    @property
    def replay_command(self) -> str:
        """What runs this seed again."""
        return f"polaris simulate --seed {self.seed} --steps {self.steps}"


class Figure(Struct, frozen=True):
    """One number of a report."""

    name: str
    value: int | float
    unit: str


class SimulationReport(Struct, frozen=True, kw_only=True):
    """What a run of many seeds found. ``counts`` sum what happened in them."""

    seeds: int
    steps: int
    seconds: float
    failures: tuple[SeedOutcome, ...]
    counts: dict[str, int]

    @property
    def figures(self) -> list[Figure]:
        """The numbers, for people and programs."""
        per_minute = self.seeds * 60 / self.seconds if self.seconds else 0.0
        return [
            Figure("seeds", self.seeds, "seeds"),
            Figure("failures", len(self.failures), "seeds"),
            Figure("steps per seed", self.steps, "steps"),
            Figure("duration", round(self.seconds, 1), "s"),
            Figure("speed", round(per_minute), "seeds/min"),
            *(Figure(name, count, "in all") for name, count in self.counts.items()),
        ]


@contextmanager
def quiet() -> Iterator[None]:
    """No log lines: crashes and failing disks are what the simulation is made of."""
    before = structlog.get_config() if structlog.is_configured() else None
    structlog.configure(processors=[_drop], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.reset_defaults()
        if before is not None:
            structlog.configure(**before)


def _drop(_: object, __: str, ___: Any) -> Any:
    raise structlog.DropEvent


def run_seed(seed: int, steps: int = STEPS_DEFAULT, *, make: Callable[[int], World] = World) -> SeedOutcome:
    """Run one seed; whatever is raised in it is what it found."""
    with quiet():
        return _run(seed, steps, make)


def _run(seed: int, steps: int, make: Callable[[int], World]) -> SeedOutcome:
    world = make(seed)
    checker = detail = ""
    try:
        world.run(steps)
    except Violation as found:
        checker, detail = found.checker, found.detail
    except Exception as error:
        checker, detail = "raised", f"{type(error).__name__}: {error}"
    trace = tuple(world.trace_lines()) if checker else ()
    return SeedOutcome(
        seed=seed,
        steps=steps,
        checker=checker,
        detail=detail,
        trace=trace,
        fingerprint=world.fingerprint(),
        counts=world.counts(),
    )


def _run_chunk(seeds: Sequence[int], steps: int) -> list[SeedOutcome]:
    gc.disable()
    try:
        with quiet():
            return [_run(seed, steps, World) for seed in seeds]
    finally:
        gc.enable()
        gc.collect()


def run_seeds(
    seeds: Sequence[int],
    steps: int = STEPS_DEFAULT,
    *,
    jobs: int = 1,
    done: Callable[[Sequence[SeedOutcome]], None] = lambda _: None,
    failures_max: int = 20,
) -> SimulationReport:
    """Run seeds; ``done`` hears of each group as it ends. Ends early after ``failures_max`` failing seeds."""
    began = time.perf_counter()
    size = max(min(_CHUNK_SEEDS, len(seeds) // max(jobs, 1)), 1)
    chunks = [seeds[start : start + size] for start in range(0, len(seeds), size)]
    counts: Counter[str] = Counter()
    failures: list[SeedOutcome] = []
    ran = 0
    for outcomes in _outcomes(chunks, steps, jobs):
        ran += len(outcomes)
        for outcome in outcomes:
            counts.update(outcome.counts)
        failures += [outcome for outcome in outcomes if outcome.checker]
        done(outcomes)
        if len(failures) >= failures_max:
            break
    return SimulationReport(
        seeds=ran,
        steps=steps,
        seconds=time.perf_counter() - began,
        failures=tuple(failures),
        counts=dict(counts),
    )


def _outcomes(chunks: Sequence[Sequence[int]], steps: int, jobs: int) -> Iterator[list[SeedOutcome]]:
    if jobs <= 1:
        for chunk in chunks:
            yield _run_chunk(chunk, steps)
        return
    with ProcessPoolExecutor(max_workers=jobs, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_run_chunk, chunk, steps) for chunk in chunks]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def default_jobs() -> int:
    """As many processes as there are processors to run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
