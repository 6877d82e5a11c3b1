"""Training: one run from its settings to its scores, and the processes that only train."""

import sys
from types import ModuleType

# Lightning wants two classes of torchmetrics, to ask whether what a module logs is a metric, and nothing here is one.
# The real torchmetrics imports scipy.signal and much else: that was two of the five seconds before the first step.
if "torchmetrics" not in sys.modules:
    _two_classes = ModuleType("torchmetrics")
    vars(_two_classes).update(Metric=type("Metric", (), {}), MetricCollection=type("MetricCollection", (), {}))
    sys.modules["torchmetrics"] = _two_classes
    import lightning  # noqa: F401

    del sys.modules["torchmetrics"]  # whoever imports it later gets the real one
