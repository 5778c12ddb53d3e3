"""Finding and reading the settings; every mistake becomes one clear sentence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict, SettingsError

from polaris_synapse.desk.settings import ENVIRONMENT_PREFIX, DeskSettings

_PACKAGE: Final = Path(__file__).resolve().parents[1]
#: Where configs/ lies: beside src/ in a checkout, inside the package in an installed wheel.
_CONFIG_FOLDERS: Final = (_PACKAGE.parents[1] / "configs", _PACKAGE / "configs")
#: POLARIS_ variables that are not settings of the tree: the command's own and the tests'.
_OTHER_VARIABLES: Final = frozenset(
    {
        "POLARIS_CONFIG",
        "POLARIS_TEST_DATA",
        "POLARIS_URL",
        "POLARIS_KEY_FILE",
        "POLARIS_ACCOUNT",
        "POLARIS_MCP_KEY_FILE",
        "POLARIS_MCP_TOKEN",
    }
)
#: Variables of the test suite, such as POLARIS_TEST_POSTGRES; the desk has no use for them.
_TEST_PREFIX: Final = "POLARIS_TEST_"


class ConfigurationError(RuntimeError):
    """The settings cannot be used; the message says which one, why, and what to do."""


def find_config(name: str | None) -> Path:
    """The YAML file: a path, or the name of one in configs/. Raises ConfigurationError when there is none."""
    wanted = name or os.environ.get("POLARIS_CONFIG") or "development"
    path = Path(wanted)
    if path.suffix in {".yml", ".yaml"}:
        if path.is_file():
            return path
        raise ConfigurationError(f"There is no settings file at {path}; give another with --config.")
    for folder in _CONFIG_FOLDERS:
        candidate = folder / f"{wanted}.yml"
        if candidate.is_file():
            return candidate
    raise ConfigurationError(f"There is no configs/{wanted}.yml; use development, production or a path to a YAML file.")


def load_settings(config: str | None = None, **options: Any) -> DeskSettings:
    """Read the settings. ``options`` override everything else. Raises ConfigurationError."""
    path = find_config(config)
    _refuse_unknown_variables()

    class FromFile(DeskSettings):
        model_config = SettingsConfigDict(
            yaml_file=path, yaml_file_encoding="utf-8", env_file=_env_file(), env_file_encoding="utf-8"
        )

    given = {name: value for name, value in options.items() if value is not None}
    try:
        return FromFile(**given)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, path)) from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except SettingsError as error:
        raise ConfigurationError(f"A setting cannot be read: {error}.") from None


def _env_file() -> Path | None:
    path = Path(".env")
    return path if path.is_file() else None


def _refuse_unknown_variables() -> None:
    known = {f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in DeskSettings.model_fields}
    for name in sorted(os.environ):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in _OTHER_VARIABLES or name.startswith(_TEST_PREFIX):
            continue
        if name.split("__", 1)[0] not in known:
            raise ConfigurationError(
                f"The environment variable {name} is not a setting; see .env.example for those that are."
            )


def _explain(error: ValidationError, path: Path) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"The setting {where} in {path} (or the environment) does not exist; remove it or check its spelling."
    if first["type"] == "missing":
        return f"The setting {where} is missing in {path}."
    if not where:
        return f"The settings of {path} contradict each other: {message}."
    return f"The setting {where} in {path} (or the environment, or an option) is not usable: {message}."
