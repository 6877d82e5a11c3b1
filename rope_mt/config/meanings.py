"""The meaning of each setting: the comment behind the field of a dataclass, or else the comment lines above it."""

import inspect
import re
from dataclasses import is_dataclass


def meanings(schema: type) -> dict[str, str]:
    """The meaning of each field of a dataclass; a field that a class overrides without a comment keeps its meaning."""
    texts: dict[str, str] = {}
    for part in reversed(schema.__mro__):
        above: list[str] = []
        for line in inspect.getsource(part).splitlines() if is_dataclass(part) else ():
            if line.startswith("    # "):
                above.append(line[6:])
            elif setting := re.match(r"    (\w+): [^#]+(?:# (.+))?$", line):
                text = setting[2] or " ".join(above)
                texts[setting[1]] = text or texts.get(setting[1], "")
                above = []
            elif line.startswith("    def "):
                break
    return texts
