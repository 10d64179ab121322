"""docs/configuration.md lists every setting as the code has it: `python tests/unit/docs/test_configuration.py` rewrites it."""

import re
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from relay_core.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"
TABLE = re.compile(r"(?<=<!-- settings -->\n).*?(?=<!-- /settings -->)", re.DOTALL)
COMPUTED = {
    "data_dir": "`/var/lib/relay` as root, else `~/.local/share/relay`",
    "node_pressure_bytes": "`1 GiB`, or the above if that is less",
}
UNITS = ((30, "GiB"), (20, "MiB"), (10, "KiB"))
BOUNDS = (("ge", "≥ {}"), ("gt", "> {}"), ("le", "≤ {}"), ("pattern", "`{}`"), ("max_length", "≤ {} characters"))


def amount(name: str, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and name.endswith("_bytes"):
        for shift, unit in UNITS:
            if value and value % (1 << shift) == 0:
                return f"{value >> shift} {unit}"
    return str(value).replace("|", "\\|")


def default(name: str, field: FieldInfo) -> str:
    if name in COMPUTED:
        return COMPUTED[name]
    value = field.default
    if value is None or value == ():
        return "unset"
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else amount(name, value)}`"


def bounds(name: str, field: FieldInfo) -> str:
    found = [
        form.format(amount(name, getattr(one, key)))
        for key, form in BOUNDS
        for one in field.metadata
        if getattr(one, key, None) is not None
    ]
    return ", ".join(found) or "any"


def table() -> str:
    rows = ["| variable | default | bounds | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        meaning = (field.description or "").replace("|", "\\|")
        rows.append(f"| `RELAY_{name.upper()}` | {default(name, field)} | {bounds(name, field)} | {meaning} |")
    return "\n".join(rows) + "\n"


def test_every_setting_says_what_it_means():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_page_is_up_to_date():
    found = TABLE.search(PAGE.read_text())
    assert found is not None
    assert found.group() == table(), f"run: python {Path(__file__).relative_to(PAGE.parents[1])}"


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: table(), PAGE.read_text()))
