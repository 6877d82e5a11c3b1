"""The nine commands: what each does, and the function that does it."""

import os
import signal
from collections.abc import Callable
from importlib import import_module
from types import FrameType
from typing import Any, NamedTuple


class Command(NamedTuple):
    does: str
    example: str
    function: str  # MODULE:NAME below rope_mt; takes one of the dataclasses in rope_mt/config/commands.py

    def load(self) -> Callable[..., Any]:
        """Import the function, which takes seconds where it needs torch; Ctrl-C ends the program meanwhile.

        Nothing was begun yet that would have to be tidied up, and torch's own import swallows KeyboardInterrupt.
        """
        module, _, name = self.function.partition(":")
        python_raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if python_raises:
            signal.signal(signal.SIGINT, _exit_interrupted)
        try:
            return getattr(import_module(f"rope_mt.{module}"), name)
        finally:
            if python_raises:
                signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit_interrupted(signum: int, frame: FrameType | None) -> None:
    os.write(2, b"rope-mt: interrupted\n")
    os._exit(128 + signum)


COMMANDS = {
    "train": Command(
        "train a model and score it; -m: one for each choice",
        "rope-mt train -m position=rope,none seed=1,2",
        "training.train:train",
    ),
    "eval": Command(
        "score a trained model on a test set", "rope-mt eval RUN search.beam=8", "translation.evaluate:evaluate"
    ),
    "translate": Command(
        "translate lines from standard input",
        "rope-mt translate RUN < in.en > out.de",
        "translation.translate:translate",
    ),
    "prepare": Command(
        "fetch, clean and tokenize a corpus", "rope-mt prepare data=multi30k", "data.prepare:prepare_and_report"
    ),
    "bench": Command("measure speed, memory and waste", "rope-mt bench data", "bench.bench:bench"),
    "ls": Command("list runs: state, score, size, code", "rope-mt ls --prune", "runs.ls:ls"),
    "compare": Command("set finished runs side by side", "rope-mt compare outputs/*", "study.compare.compare:compare"),
    "analyze": Command(
        "study how runs attend, learn and generalise",
        "rope-mt analyze convergence outputs/*",
        "study.analyze.analyze:analyze",
    ),
    "export": Command(
        "write a model for other programs", "rope-mt export RUN --to ctranslate2", "translation.export:export"
    ),
}
