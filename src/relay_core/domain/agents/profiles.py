"""Named configurations of executors ("variants"): built-in ones, under those of a deployment, under those of a project.

A profile file is TOML: a table for each executor and variant, with fields of `ExecutorChoice`::

    [codex.default]
    model = "gpt-5"

    [codex.deep]
    model = "gpt-5"
    reasoning_effort = "high"
    args = ["-c", "web_search=true"]
    env = { OPENAI_BASE_URL = "https://gateway.example.org/v1" }

A variant is complete by itself: it inherits nothing from `default`.
"""

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from relay_core.domain.agents.executors import EXECUTORS, FIELDS, PLAN, ExecutorChoice, check_executor, executor_kind
from relay_core.domain.errors import InvalidInput

Profiles = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Profiles by executor and variant: {executor: {variant: {field: value}}}."""

DEFAULT = "default"
_PROFILE_FIELDS = tuple(name for name in FIELDS if name not in {"name", "variant"})
_VARIANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

BUILT_IN: Profiles = {
    kind.name: {DEFAULT: {}, **({PLAN: {"permission_mode": PLAN}} if PLAN in kind.permission_modes else {})}
    for kind in EXECUTORS.values()
}


def parse(text: str) -> Profiles:
    """Return the profiles in the text of a TOML file, checked.

    Raises:
        InvalidInput: the text is no TOML, or a profile in it is wrong; `field` is the place (`codex.deep.model`).
    """
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"not TOML: {error}", field="profiles") from error
    return check(given)


def check(given: Mapping[str, Any]) -> Profiles:
    """Check every name and value of parsed profiles, and return the profiles.

    Raises:
        InvalidInput: an executor or field is unknown, or a value is not allowed; `field` is the first such place.
    """
    return {name: _checked_variants(name, variants) for name, variants in given.items()}


def overlay(*layers: Profiles) -> Profiles:
    """Merge layers of profiles into one; each field of a variant gets the value of the last layer that sets it."""
    merged: dict[str, dict[str, dict[str, Any]]] = {}
    for layer in layers:
        for name, variants in layer.items():
            for variant, given in variants.items():
                merged.setdefault(name, {}).setdefault(variant, {}).update(given)
    return merged


def choose(profiles: Profiles, request: Mapping[str, Any]) -> ExecutorChoice:
    """Return the executor choice of a request: the fields of the named profile, overridden by those of the request.

    Args:
        profiles: the merged layers.
        request: fields of `ExecutorChoice`; None counts as not given. Without a variant, `default` is used.

    Raises:
        InvalidInput: an unknown executor or variant, or fields that do not go together.
    """
    given = {name: value for name, value in request.items() if value is not None}
    kind = executor_kind(given.get("name"))
    variants = profiles.get(kind.name, {})
    variant = given.get("variant") or DEFAULT
    if variant not in variants:
        known = ", ".join(variants)
        message = f"executor.variant {variant!r} is not known for {kind.name}; there are: {known}"
        raise InvalidInput(message, field="executor.variant")
    return check_executor({**variants[variant], **given})


def _checked_variants(name: str, variants: Any) -> dict[str, dict[str, Any]]:
    try:
        executor_kind(name)
    except InvalidInput as error:
        message = f"{name!r} is no executor; there are: {', '.join(EXECUTORS)}"
        raise InvalidInput(message, field=str(name)) from error
    if not isinstance(variants, Mapping):
        raise InvalidInput(f"{name} must hold tables, as [{name}.{DEFAULT}]", field=name)
    return {variant: _checked_profile(name, variant, given) for variant, given in variants.items()}


def _checked_profile(name: str, variant: Any, given: Any) -> dict[str, Any]:
    place = f"{name}.{variant}"
    if not isinstance(variant, str) or not _VARIANT.fullmatch(variant):
        raise InvalidInput(f"{variant!r} cannot be a variant's name (letters, digits, . _ -)", field=name)
    if not isinstance(given, Mapping):
        raise InvalidInput(f"{place} must be a table, as [{place}]", field=place)
    if unknown := sorted(set(given) - set(_PROFILE_FIELDS)):
        known = ", ".join(_PROFILE_FIELDS)
        raise InvalidInput(f"{place}.{unknown[0]} is not a field; there are: {known}", field=f"{place}.{unknown[0]}")
    kind = executor_kind(name)
    filler = {"command": "true"} if kind.command_required and "command" not in given else {}
    try:
        check_executor({"name": name, **given, **filler})
    except InvalidInput as error:
        inner = str(error.field or "executor").removeprefix("executor.")
        raise InvalidInput(str(error).replace("executor.", f"{place}."), field=f"{place}.{inner}") from error
    return dict(given)
