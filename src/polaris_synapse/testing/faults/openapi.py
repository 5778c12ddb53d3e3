"""The OpenAPI documents of all services against the desk that they describe: generated requests, right and wrong ones.

Needs schemathesis, which comes with the development dependencies.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx2
from msgspec import Struct

from polaris_synapse.desk.place import DEFAULT_PORTS
from polaris_synapse.testing.desk_process import DeskProcess
from polaris_synapse.testing.faults.load import write_fault_settings
from polaris_synapse.testing.order_load import PASSWORD

#: These would end the tester's own log-in.
_LEFT_OUT: Final = frozenset({"/logout", "/users/{username}"})
_REQUEST_SECONDS_MAX: Final = 20.0
_FAILURE_CHARACTERS_MAX: Final = 1_500
_LOG_IN_SECONDS: Final = 600.0


class OpenApiReport(Struct, frozen=True, kw_only=True):
    """``operations`` and ``requests`` by service; ``violations`` say what was answered that is not documented."""

    seed: int
    examples: int
    operations: dict[str, int]
    requests: dict[str, int]
    seconds: float
    alive: bool
    violations: list[str]


class _Tester:
    """Asks one desk, with a log-in that it renews."""

    def __init__(self, desk: DeskProcess, examples: int, seed: int) -> None:
        self._desk = desk
        self._examples = examples
        self._seed = seed
        self._token = ""
        self._logged_in = float("-inf")
        self.operations: dict[str, int] = {}
        self.requests: dict[str, int] = {}
        self.violations: list[str] = []

    def _headers(self) -> dict[str, str]:
        if time.monotonic() - self._logged_in > _LOG_IN_SECONDS:
            body = {"username": "tester", "password": PASSWORD}
            answer = self._desk.request("gateway", "POST", "/login", body, headers={"accept": "*/*"})
            self._token = f"Bearer {answer.json()['access_token']}"
            self._logged_in = time.monotonic()
        return {"authorization": self._token}

    def service(self, name: str, progress: Callable[[str, float], None]) -> None:
        """Every operation of one service."""
        import schemathesis
        from schemathesis.core.result import Ok

        base = self._desk.place.url(name)
        document = httpx2.get(f"{base}/openapi.json", timeout=_REQUEST_SECONDS_MAX).json()
        schema = schemathesis.openapi.from_dict(document)
        schema.config.base_url = base
        self.operations[name] = self.requests[name] = 0
        found = list(schema.get_all_operations())
        for number, result in enumerate(found):
            if not isinstance(result, Ok):
                self.violations.append(f"{name}: an operation cannot be read: {result}"[:_FAILURE_CHARACTERS_MAX])
                continue
            operation: Any = result.ok()
            if operation.path in _LEFT_OUT:
                continue
            progress(f"{name} {operation.method.upper()} {operation.path}", number / len(found))
            self.operations[name] += 1
            for mode in schemathesis.GenerationMode:
                self._operation(name, operation, mode)

    def _operation(self, name: str, operation: Any, mode: Any) -> None:
        import hypothesis
        from hypothesis import HealthCheck
        from hypothesis.errors import Unsatisfiable
        from schemathesis.checks import not_a_server_error
        from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

        def check(case: Any) -> None:
            self.requests[name] += 1
            case.call_and_validate(
                headers=self._headers(),
                checks=[not_a_server_error, status_code_conformance, response_schema_conformance],
                timeout=_REQUEST_SECONDS_MAX,
            )

        bounded = hypothesis.settings(
            max_examples=self._examples, database=None, deadline=None, suppress_health_check=list(HealthCheck)
        )
        test = hypothesis.given(case=operation.as_strategy(generation_mode=mode))(check)
        try:
            # Where everything is right there is nothing to generate in the negative mode.
            with contextlib.suppress(Unsatisfiable):
                hypothesis.seed(self._seed)(bounded(test))()
        except Exception as error:
            text = f"{name} {operation.method.upper()} {operation.path}: {error}"
            self.violations.append(text[:_FAILURE_CHARACTERS_MAX])


def run_openapi(
    directory: Path, *, examples: int, seed: int, progress: Callable[[str, float], None] = lambda *_: None
) -> OpenApiReport:
    """Try ``examples`` right and as many wrong requests of every operation on a desk in ``directory``."""
    began = time.monotonic()
    config = write_fault_settings(directory / "desk.yml")
    with DeskProcess(directory / "desk", config=str(config)) as desk:
        user = {"username": "tester", "password": PASSWORD, "role": "ADMIN", "accounts": ["*"]}
        desk.json("gateway", "POST", "/users", user)
        tester = _Tester(desk, examples, seed)
        for name in sorted(DEFAULT_PORTS):
            tester.service(name, progress)
        alive = desk.running and desk.request("gateway", "GET", "/health").status_code == 200
        desk.stop()
    progress("done", 1.0)
    return OpenApiReport(
        seed=seed,
        examples=examples,
        operations=tester.operations,
        requests=tester.requests,
        seconds=round(time.monotonic() - began, 1),
        alive=alive,
        violations=tester.violations,
    )
