"""The scheme that rope_mt/position/README.md adds as an example, made from the text there."""

import re
from pathlib import Path
from typing import Any

README = (Path(__file__).parents[2] / "rope_mt/position/README.md").read_text(encoding="utf-8")
NAME = "kerple-power"
[YAML] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)

namespace: dict[str, Any] = {"__name__": __name__}
for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
    exec(code, namespace)
CONFIG, SCHEME = namespace["KerplePowerConfig"], namespace["KerplePowerPosition"]
