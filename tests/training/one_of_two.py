"""One of several training processes: `CONFIG.json RUN_FOLDER LOG`.

It writes down what each step trained on, and at the end each step's loss, and how often it would have waited for the
device.
"""

import json
import os
import sys
from pathlib import Path


def main(config: str, folder: str, log: str) -> None:
    from watch import watching

    from rope_mt.config.plain import from_plain
    from rope_mt.training.module import TranslationModule
    from rope_mt.training.train import train

    honest, rank = TranslationModule.training_step, os.environ["RANK"]

    def training_step(self, batch, batch_idx):
        with open(f"{log}-{rank}", "a") as file:
            file.write(seen.batches[-1] + "\n")
        return honest(self, batch, batch_idx)

    TranslationModule.training_step = training_step
    with watching() as seen:
        train(from_plain(json.loads(Path(config).read_text())), Path(folder))
    Path(f"{log}-{rank}.json").write_text(json.dumps({"losses": seen.losses(), "waits": seen.waits}))


if __name__ == "__main__":
    main(*sys.argv[1:])
