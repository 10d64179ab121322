"""Answer the `relay` command about this node: `python -m relay_workers.diagnostics …` (people use `relay`).

`doctor`                  examines the node: {"fixed": [], "checks": [{"check", "level", "message", "what_to_do"}…]}
`doctor --fix`            first repairs what the sweeps would repair; `fixed` lists what was done
`programs IMAGE NAME…`    looks for programs in an image: {"present": [NAME…]}

The answer is one JSON object on standard output, and the exit code is 0. On an error the object is {"error": MESSAGE},
and the exit code is 1, or 2 if a setting is wrong.
"""

import json
import sys
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from relay_core.domain.errors import RelayError
from relay_core.logging_setup import configure_logging
from relay_core.settings import get_settings, wrong_settings
from relay_workers.diagnostics import doctor
from relay_workers.diagnostics.image_programs import programs_in


def main(arguments: list[str]) -> int:
    """Write the answer to one question to standard output, and return the exit code."""
    configure_logging("ERROR")
    try:
        answer = _answer(arguments)
    except ValidationError as error:
        return _failed(wrong_settings(error), 2)
    except RelayError as error:
        return _failed(str(error), 1)
    except KeyboardInterrupt:
        return 130
    if answer is None:
        sys.stderr.write(__doc__ or "")
        return 2
    sys.stdout.write(json.dumps(answer))
    return 0


def _answer(arguments: list[str]) -> dict[str, Any] | None:
    match arguments:
        case ["doctor", *options] if options in ([], ["--fix"]):
            settings = get_settings()
            fixed = doctor.fix(settings) if options else []
            return {"fixed": fixed, "checks": [asdict(check) for check in doctor.examine(settings)]}
        case ["programs", image, *names]:
            return {"present": sorted(programs_in(image, names))}
    return None


def _failed(message: str, code: int) -> int:
    sys.stdout.write(json.dumps({"error": message}))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
