"""Mutators of fields: of JSON and TOML files, of lines, and of the headers of safetensors files."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz.mutation import Inapplicable

_DEEP = 100_000
ODD: tuple[Callable[[], Any], ...] = (
    lambda: -1, lambda: 0, lambda: 1, lambda: 2, lambda: 2**31, lambda: 2**63, lambda: 10**400, lambda: -(2**63),
    lambda: 1e300, lambda: 1e-300, lambda: -0.0, lambda: 0.5, lambda: float("nan"), lambda: float("inf"), lambda: None,
    lambda: True, lambda: "", lambda: "text", lambda: "\x1b[31m\u202e\0", lambda: "../../x", lambda: "x" * 100_000,
    lambda: [], lambda: {}, lambda: [0], lambda: [[1]], lambda: {"a": 1}, lambda: [1] * 10_000, lambda: "\ud800",
)  # fmt: skip


def _paths(value: Any, at: tuple = ()) -> list[tuple]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, each in inner for path in ((*at, key), *_paths(each, (*at, key)))]


def _parent(value: Any, path: tuple) -> Any:
    for key in path[:-1]:
        value = value[key]
    return value


def edit(value: Any, rng: random.Random) -> str:
    """Change one place of a JSON value."""
    paths = _paths(value)
    if not paths:
        raise Inapplicable
    path = rng.choice(paths)
    parent, key = _parent(value, path), path[-1]
    told = "/".join(map(str, path))
    kind = rng.choice(("odd", "odd", "near", "near", "gone", "more", "moved"))
    old = parent[key]
    if kind == "near" and isinstance(old, int | float):
        parent[key] = rng.choice((old + 1, old - 1, old * 2, -old, old / 3, old * 1_000_000, float(old)))
    elif kind == "near" and isinstance(old, str):
        where = rng.randrange(len(old) + 1)
        parent[key] = old[:where] + rng.choice("0a/é\n ") + old[where + 1 :]
    elif kind == "gone":
        del parent[key]
        return f"{told} taken out"
    elif kind == "more" and isinstance(parent, dict):
        parent[rng.choice(("more", "", "\0", "__proto__", f"{key} "))] = old
        return f"{told} there again under another name"
    elif kind == "moved":
        other = rng.choice(paths)
        taken = _parent(value, other)[other[-1]]
        parent[key] = json.loads(json.dumps(taken))
        return f"{told} = {'/'.join(map(str, other))}"
    else:
        parent[key] = rng.choice(ODD)()
    return f"{told} = {str(parent[key])[:60]!r}"


def edited_json(text: str, rng: random.Random) -> tuple[str, str]:
    """Return a JSON text with one field changed, and what was changed."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # the latter of a text that was nested deep before
        raise Inapplicable from error
    kind = rng.randrange(12)
    if kind == 0 and isinstance(value, dict) and value:
        key = rng.choice(list(value))
        return text.replace("{", f"{{{json.dumps(key)}:{json.dumps(value[key])},", 1), f"key {key!r} twice"
    if kind == 1:
        place = text.find(":") + 1
        return text[:place] + "[" * _DEEP + "]" * _DEEP + "," * 0 + text[text.find(",", place) :], "nested deep"
    if kind == 2:
        return f"{text} {text}", "twice"
    told = edit(value, rng)
    return json.dumps(value, ensure_ascii=rng.random() < 0.5, separators=(",", ":")), told


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def json_field(path: Path, rng: random.Random, size: int) -> str:
    text, told = edited_json(path.read_text(encoding="utf-8", errors="surrogateescape"), rng)
    path.write_bytes(_encoded(text))
    return told


def json_line(path: Path, rng: random.Random, size: int) -> str:
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    if not lines:
        raise Inapplicable
    place = rng.randrange(len(lines))
    lines[place], told = edited_json(lines[place], rng)
    path.write_bytes(_encoded("\n".join(lines) + "\n"))
    return f"line {place + 1}: {told}"


def lines(path: Path, rng: random.Random, size: int) -> str:
    """Take out, double or move whole lines: what is left is well-formed."""
    found = path.read_bytes().splitlines(keepends=True)
    if len(found) < 2:
        raise Inapplicable
    place, kind = rng.randrange(len(found)), rng.choice(("out", "twice", "moved", "cut"))
    if kind == "twice":
        found.insert(place, found[place])
    elif kind == "moved":
        found.insert(rng.randrange(len(found)), found.pop(place))
    else:
        del found[place : None if kind == "cut" else place + 1]
    path.write_bytes(b"".join(found))
    return f"line {place + 1} {kind}"


_TOML_ODD = (
    "-1", "0", "2147483648", "9223372036854775808", "1e300", "nan", "-inf", '""', '"text"', '"\\u0000"', "[]", "{}",
    "true", "1979-05-27", "[" * 5000 + "]" * 5000, "[" * 100_000, "{a=" * 3000 + "1" + "}" * 3000, "0x", "'''", "1_0",
)  # fmt: skip


def toml_value(path: Path, rng: random.Random, size: int) -> str:
    rows = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    places = [i for i, row in enumerate(rows) if "=" in row]
    if not places:
        raise Inapplicable
    place, kind = rng.choice(places), rng.randrange(5)
    name, _, value = rows[place].partition("=")
    if kind == 0:
        rows.insert(place, rows[place])
        told = "twice"
    elif kind == 1:
        rows[place], told = f"{name.strip()}_x ={value}", "renamed"
    elif kind == 2 and value.strip().isdigit():
        rows[place] = f"{name}= {int(value) + rng.choice((-1, 1, 7))}"
        told = rows[place]
    else:
        rows[place] = f"{name}= {rng.choice(_TOML_ODD)}"
        told = rows[place][:60]
    path.write_bytes("\n".join(rows).encode("utf-8", "surrogateescape") + b"\n")
    return f"line {place + 1}: {told}"


def _header(path: Path) -> tuple[str, bytes]:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    if not 0 < length <= len(content) - 8:
        raise Inapplicable
    return content[8 : 8 + length].decode("utf-8", "surrogateescape"), content[8 + length :]


def _with_header(path: Path, header: str, data: bytes) -> None:
    encoded = _encoded(header)
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data)


def header(path: Path, rng: random.Random, size: int) -> str:
    """Change one field of the header of a safetensors file, with its length made to fit."""
    text, data = _header(path)
    text, told = edited_json(text, rng)
    _with_header(path, text, data)
    return f"header: {told}"


def metadata(path: Path, rng: random.Random, size: int) -> str:
    """Change one field of the JSON text that the header of our own files keeps."""
    text, data = _header(path)
    try:
        content = json.loads(text)
        key = rng.choice(sorted(content["__metadata__"]))
        inner = content["__metadata__"][key]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise Inapplicable from error
    content["__metadata__"][key], told = edited_json(str(inner), rng)
    _with_header(path, json.dumps(content, ensure_ascii=False, separators=(",", ":")), data)
    return f"{key}: {told}"


SAFETENSORS = {"header": header, "metadata": metadata, "metadata again": metadata, "metadata once more": metadata}
JSON = {"field": json_field}
JSON_LINES = {"line": json_line, "lines": lines}
TOML = {"value": toml_value}
LINES = {"lines": lines}
