"""One of several training processes, started by torchrun: `CONFIG.json RUN_FOLDER DIES_AT LOG`.

It writes down what each step trained on, and dies without a word in the step `DIES_AT`; else at the end also each
step's loss, and how often it would have waited for the device.
"""

import json
import os
import sys
from pathlib import Path


def main(config: str, folder: str, dies_at: str, log: str) -> None:
    from watch import watching

    from rope_mt.config.plain import from_plain
    from rope_mt.training.module import TranslationModule
    from rope_mt.training.train import train

    honest, rank = TranslationModule.training_step, os.environ["RANK"]

    def training_step(self, batch, batch_idx):
        if self.global_step == int(dies_at):
            os._exit(9)
        with open(f"{log}-{rank}", "a") as file:
            file.write(seen.batches[-1] + "\n")
        return honest(self, batch, batch_idx)

    TranslationModule.training_step = training_step
    with watching() as seen:
        train(from_plain(json.loads(Path(config).read_text())), Path(folder))
    Path(f"{log}-{rank}.json").write_text(json.dumps({"losses": seen.losses(), "waits": seen.waits}))


if __name__ == "__main__":
    main(*sys.argv[1:])
