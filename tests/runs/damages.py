"""Ways to damage a file, and to write one that is wrong with every check sum right."""

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rope_mt.runs import archive, checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import write_result
from rope_mt.system.manifest import write_manifest


def flip(data: bytearray, dice: random.Random) -> None:
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def overwrite(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data))
    n = min(dice.choice([1, 4, 16, 512]), len(data) - at)
    data[at : at + n] = dice.choice([bytes(n), b"\xff" * n, dice.randbytes(n)])


def truncate(data: bytearray, dice: random.Random) -> None:
    del data[dice.choice([0, 1, len(data) // 2, len(data) - 1, dice.randrange(len(data))]) :]


def insert(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data) + 1)
    data[at:at] = dice.randbytes(dice.choice([1, 8, 4096]))


def delete(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data))
    del data[at : at + dice.choice([1, 8, 512])]


def swap(data: bytearray, dice: random.Random) -> None:
    n = max(1, min(dice.choice([1, 16, 256]), len(data) // 3))
    a, b = sorted(dice.sample(range(len(data) // n), 2)) if len(data) >= 2 * n else (0, 0)
    data[a * n : a * n + n], data[b * n : b * n + n] = data[b * n : b * n + n], data[a * n : a * n + n]


def exchange_members(data: bytearray, dice: random.Random) -> None:
    """Two members of a zip change places under their names; without a zip, two blocks."""
    with zipfile.ZipFile(io.BytesIO(data)) as there:
        members = {member.filename: there.read(member) for member in there.infolist()}
        comment = there.comment
    a, b = dice.sample([*members], 2)
    members[a], members[b] = members[b], members[a]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", dice.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as made:
        for name, content in members.items():
            made.writestr(name, content)
        made.comment = comment
    data[:] = out.getvalue()


DEEP = "[" * 20_000 + "]" * 20_000
LONG = '"' + "x" * 2_000_000 + '"'
VALUES = ["-1", "1e999", "NaN", "9" * 5_000, LONG, "null", "[]", "{}", '"\\ud800"', "true", "0.5"]
VALUES += ['"${oc.env:HOME}"', '"${oc.decode:1}"', '{"_target_": "os.system"}', DEEP, "1000000000000000000", '""']


def other_value(data: bytearray, dice: random.Random) -> None:
    """The value of one key of a JSON or YAML file is replaced by one of another type or size."""
    lines = bytes(data).decode(errors="surrogateescape").split("\n")
    keys = [n for n, line in enumerate(lines) if ": " in line]
    n = dice.choice(keys)
    head, _, tail = lines[n].partition(": ")
    lines[n] = f"{head}: {dice.choice(VALUES)}{',' if tail.endswith(',') else ''}"
    data[:] = "\n".join(lines).encode(errors="surrogateescape")


ANYWHERE = (flip, flip, overwrite, truncate, insert, delete, swap)


def damages(path: Path) -> tuple[Callable[[bytearray, random.Random], None], ...]:
    """What can be done to a file."""
    if path.suffix == ".ckpt":
        return (*ANYWHERE, exchange_members)
    return (*ANYWHERE, other_value, other_value, other_value) if path.suffix in (".json", ".yaml") else ANYWHERE


# ---- files of somebody who makes every check sum right ---------------------------------------------------------------

ODD = [
    -1,
    0,
    1,
    10**9,
    10**30,
    1e300,
    float("nan"),
    None,
    True,
    "",
    "x",
    "${oc.env:HOME}",
    [],
    {},
    [[[]]],
    b"\0",
    "???",
]
ODD += [{"_target_": "os.system"}, (1, 2), torch.zeros(2), "rope", 2, 3.5]


def _places(tree: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        found.append((tree, key))
        if isinstance(value, dict | list):
            _places(value, found)
    return found


def odd_tensor(tensor: torch.Tensor, dice: random.Random) -> torch.Tensor:
    return dice.choice(
        [
            lambda: tensor.double(),
            lambda: tensor.long(),
            lambda: tensor.half(),
            lambda: tensor * float("nan"),
            lambda: tensor[..., :0],
            lambda: tensor.to_sparse(),
            lambda: tensor.to("meta"),
            lambda: torch.zeros(1).expand(10**6, 10**6),
            lambda: torch.zeros(()),
            lambda: torch.nn.Parameter(tensor.float()),
            lambda: tensor.flatten()[None],
        ]
    )()


def hostile_checkpoint(path: Path, dice: random.Random) -> None:
    """Something in it is another thing, as somebody would write it who knows the format."""
    values = checkpoint.read(path)
    places = _places(values["rope_mt"]["config"] if dice.random() < 0.5 else values, [])
    tree, key = dice.choice(places)
    kind = dice.random()
    if isinstance(tree[key], torch.Tensor) and kind < 0.6:
        tree[key] = odd_tensor(tree[key], dice)
    elif kind < 0.7:
        tree[key] = dice.choice(ODD)
    elif kind < 0.8 and isinstance(tree, dict):
        del tree[key]
    elif kind < 0.9 and isinstance(tree, dict):
        tree[dice.choice(["more", 7, "_target_", "encoder.layers.9.x"])] = dice.choice(ODD)
    else:
        model = bytearray(values["rope_mt"]["tokenizer"])
        for _ in range(dice.choice([1, 10, 100])):
            dice.choice(ANYWHERE)(model, dice) if model else None
        values["rope_mt"]["tokenizer"] = bytes(model)
    checkpoint.write(path, values)


def lying_checkpoint(path: Path, dice: random.Random) -> None:
    """A number of its pickle is another one, and every check sum right."""
    with zipfile.ZipFile(path) as there:
        members = {member.filename: there.read(member) for member in there.infolist()}
    [name] = [name for name in members if name.endswith("/data.pkl")]
    pickled = bytearray(members[name])
    for _ in range(dice.choice([1, 3, 20])):
        dice.choice([flip, overwrite])(pickled, dice)
    members[name] = bytes(pickled)
    _sealed_zip(path, members)


def _sealed_zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as out:
        for name, content in members.items():
            out.writestr(name, content)
    with open(path, "r+b") as file, open(path, "rb") as reader:
        archive.seal(file, reader)


def hostile_json(path: Path, dice: random.Random) -> None:
    """A value is another one, and the seal right."""
    found = json.loads(path.read_text())
    tree, key = dice.choice(_places(found, []))
    values = [value for value in ODD if not isinstance(value, bytes | torch.Tensor)]
    if dice.random() < 0.2 and isinstance(tree, dict):
        del tree[key]
    else:
        tree[key] = dice.choice(values)
    if path.name == "result.json" and isinstance(found, dict):
        (path.parent / "run.json").unlink(missing_ok=True)
        write_result(RunFolder(path.parent), found)
    else:
        write_manifest(path, found)


def hostile_yaml(path: Path, dice: random.Random) -> None:
    data = bytearray(path.read_bytes())
    other_value(data, dice)
    path.write_bytes(data)
    run = RunFolder(path.parent)
    run.identity.unlink(missing_ok=True)
    write_result(run, json.loads(run.result.read_text()))


HOSTILE: dict[str, tuple[Callable[[Path, random.Random], None], ...]] = {
    "full checkpoint": (hostile_checkpoint, lying_checkpoint),
    "average": (hostile_checkpoint, hostile_checkpoint, lying_checkpoint),
    "run.json": (hostile_json,),
    "result.json": (hostile_json,),
    "config.yaml": (hostile_yaml,),
    "sweep's entry": (hostile_json,),
}
