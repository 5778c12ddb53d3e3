"""Settings of language models: what fits together, what is refused, and whose key goes where."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from polaris_synapse.agents.models.settings import Vendor
from polaris_synapse.desk.models_settings import ModelsSection, models_settings

OWN: dict[str, Any] = {"name": "own", "vendor": "compatible", "model": "m", "base_url": "http://127.0.0.1:1/v1"}
PAID: dict[str, Any] = {
    "name": "paid", "vendor": "openai", "model": "m", "input_usd_per_million_tokens": "1.25",
    "output_usd_per_million_tokens": "10", "training_cutoff": "2026-03-31",
}  # fmt: skip


def test_prices_limits_and_dates_become_whole_numbers() -> None:
    """Dollars are millionths, a cut-off is the end of its day in UTC, and the addresses are the vendors' own."""
    budget = {"day": {"tokens_max": 1, "seconds_max": 2, "usd_max": "0.000003"}}
    section = ModelsSection.model_validate({"providers": [PAID, OWN], "budget": budget})
    found = models_settings(section, openai_key=SecretStr("o"), anthropic_key=SecretStr("a"))
    paid, own = found.providers
    assert (paid.input_micro_usd_per_million, paid.output_micro_usd_per_million) == (1_250_000, 10_000_000)
    assert paid.training_cutoff_ns == 1_775_001_600 * 10**9
    assert paid.base_url == "https://api.openai.com/v1"
    assert (own.training_cutoff_ns, own.input_micro_usd_per_million) == (0, 0)
    assert found.budget.day.micro_usd_max == 3


def test_each_vendor_gets_its_own_key_and_no_other() -> None:
    """A server of one's own is sent nobody's key."""
    claude = PAID | {"name": "claude", "vendor": "anthropic"}
    section = ModelsSection.model_validate({"providers": [PAID, claude, OWN]})
    found = models_settings(section, openai_key=SecretStr("o"), anthropic_key=SecretStr("a"))
    keys = {each.vendor: each.api_key.get_secret_value() if each.api_key else None for each in found.providers}
    assert keys == {Vendor.OPENAI: "o", Vendor.ANTHROPIC: "a", Vendor.COMPATIBLE: None}


def test_a_provider_without_its_key_is_a_contradiction() -> None:
    """The sentence names the variable that is missing."""
    section = ModelsSection.model_validate({"providers": [PAID]})
    assert section.problems(openai_key=SecretStr("o"), anthropic_key=None) == []
    assert "OPENAI_PROD_API_KEY" in section.problems(openai_key=None, anthropic_key=SecretStr("a"))[0]


@pytest.mark.parametrize(
    "providers",
    [
        [OWN | {"base_url": ""}],
        [OWN | {"base_url": "http://user:secret@host/v1"}],
        [OWN | {"base_url": "ftp://host"}],
        [OWN, OWN],
        [PAID | {"output_usd_per_million_tokens": "0"}],
        [PAID | {"input_usd_per_million_tokens": "-1"}],
        [OWN | {"api_key": "sk-1"}],
        [OWN | {"vendor": "nobody"}],
    ],
)
def test_what_does_not_fit_is_refused(providers: list[dict[str, Any]]) -> None:
    """No address, a password in one, a name twice, no price, a key in the file and an unknown vendor."""
    with pytest.raises(ValidationError):
        ModelsSection.model_validate({"providers": providers})


def test_a_desk_without_the_extra_works() -> None:
    """Without the packages a desk without providers starts, and one with them says what to install."""
    program = """
import sys
for name in ("pydantic_ai", "openai", "anthropic"):
    sys.modules[name] = None
from pathlib import Path
from prometheus_client import CollectorRegistry
from polaris_synapse.agents.models.database import file_database
from polaris_synapse.agents.models.factory import ModelRoom, ModelsNotInstalledError
from polaris_synapse.agents.models.settings import ModelsSettings, ProviderSettings, Vendor
from polaris_synapse.bus.clock import SystemClock
database = file_database(Path("models.sqlite3"))
assert ModelRoom(ModelsSettings(), database, SystemClock(), CollectorRegistry()).model is None
own = ProviderSettings(name="own", vendor=Vendor.COMPATIBLE, model="m", base_url="http://127.0.0.1:1/v1")
try:
    ModelRoom(ModelsSettings(providers=(own,)), database, SystemClock(), CollectorRegistry())
except ModelsNotInstalledError as error:
    assert "polaris-synapse[llm]" in str(error)
else:
    raise SystemExit("nothing was said")
"""
    done = subprocess.run(  # our own program, no shell
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_heavy_import_without_a_provider() -> None:
    """Wiring the desk's rooms imports no vendor's package."""
    program = "import sys, polaris_synapse.desk.rooms; sys.exit('pydantic_ai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
