"""How the validation loss of a run fell, over the target tokens that it saw."""

import json
import math
from dataclasses import dataclass

from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.study.finished_runs import FinishedRun


@dataclass(frozen=True)
class Curve:
    """The validations of a run in their order: steps, target tokens seen, loss in nats a token."""

    run: FinishedRun
    steps: list[int]
    tokens: list[int]
    losses: list[float]

    @classmethod
    def read(cls, run: FinishedRun) -> "Curve":
        """The validations that a run wrote down.

        Raises:
            UserError: a line of its metrics.jsonl is damaged, or there is no validation.
        """
        path = RunFolder(run.folder).metrics
        steps, tokens, losses = [], [], []
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {path}: {error}") from error
        for n, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                if "valid/loss" in row:
                    steps.append(int(row["step"]))
                    tokens.append(int(row["tokens"]))
                    losses.append(float(row["valid/loss"]))
            except (ValueError, TypeError, KeyError, ArithmeticError) as error:
                raise UserError(f"{path}, line {n}, is damaged: leave the run out, or train it again") from error
        if not steps:
            raise UserError(f"there is no validation in {path}: leave the run out")
        return cls(run, steps, tokens, losses)

    def reached(self, loss: float) -> float | None:
        """After how many tokens the loss first was down to this one, between two validations by a straight line.

        Nothing is known of the time before the first validation, or after one that diverged: there it says the next.
        None: never.
        """
        for i, there in enumerate(self.losses):
            if there <= loss:
                before = self.losses[i - 1] if i else math.nan
                if not loss < before < math.inf:
                    return float(self.tokens[i])
                part = (before - loss) / (before - there)
                return self.tokens[i - 1] + part * (self.tokens[i] - self.tokens[i - 1])
        return None
