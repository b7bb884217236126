"""JSON from strangers: strict, bounded, and with reasons that fit on one line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

from metaprobe.trainers.formats.text import visible

__all__ = ["no_deeper", "parse_json"]

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str, depth: int = 16) -> Any:
    """Parse strict JSON: no duplicate keys, NaN, Infinity or half surrogate pairs, and at most `depth` levels.

    Raises:
        ValueError: one line that says what is wrong.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError(f"the JSON is nested more than {depth} deep") from None
    except UnicodeEncodeError:
        raise ValueError("a JSON string holds half a surrogate pair, which is not text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"the JSON is broken at character {error.pos}: {error.msg}") from None
    except ValueError as error:
        if "integer string conversion" in str(error):  # Python's own guard against quadratic time
            raise ValueError("the JSON holds a number of thousands of digits") from None
        raise
    if not no_deeper(value, depth):
        raise ValueError(f"the JSON is nested more than {depth} deep")
    return value


def no_deeper(value: object, depth: int) -> bool:
    """Return whether parsed JSON or TOML is nested at most `depth` levels deep; one that is deeper is not followed."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is None or (depth > 0 and all(no_deeper(each, depth - 1) for each in inner))


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {visible(key, 80)!r} occurs twice")
        result[key] = value
    return result


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not valid JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {visible(text, 40)} does not fit a double")
    return number
