"""The text of a run for Lightning: training batches, and batches of the validation set."""

import lightning as L
from torch.utils.data import DataLoader

from rope_mt.config.data import DataConfig
from rope_mt.data import text
from rope_mt.data.batches import Batch, PairDataset, Sentences, training_pairs
from rope_mt.data.epoch import EpochPlan
from rope_mt.data.loader import ResumableLoader
from rope_mt.data.prepared import Prepared
from rope_mt.data.tokenizer import Tokenizer, read


class TranslationData(L.LightningDataModule):
    """The training pairs that `prepare` wrote, and the validation set, as batches of token ids.

    Args:
        valid: the files of the validation set.
        rank, world: the number of this process, from 0, and of all processes that train one model.
        accumulate: batches of each process that make one update.

    Raises:
        UserError: no training pair is short enough.
    """

    def __init__(
        self,
        cfg: DataConfig,
        prepared: Prepared,
        valid: text.Files,
        seed: int,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
    ) -> None:
        super().__init__()
        self.cfg = cfg
        self.tokenizer: Tokenizer = prepared.tokenizer()
        self.pairs = training_pairs(cfg, prepared, seed)
        self.plan = EpochPlan(*self.pairs.lengths(), cfg.batch_tokens, cfg.max_len, seed, rank, world, accumulate)
        self.valid_src, self.valid_ref = text.read_test_set(valid)

    def train_dataloader(self) -> ResumableLoader:
        # not wherever there is a GPU: pinned memory would use it for a run on the CPU
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return ResumableLoader(self.pairs, self.plan, self.cfg.workers, pin=on_gpu)

    def val_dataloader(self) -> DataLoader[Batch]:
        return validation_batches(self.cfg, self.tokenizer, self.valid_src, self.valid_ref)


def validation_batches(cfg: DataConfig, tokenizer: Tokenizer, src: list[str], ref: list[str]) -> DataLoader[Batch]:
    """All pairs of a validation set, in batches of similar length, to compute a loss on."""
    src_ids, ref_ids = (Sentences.of(read(tokenizer, lines).ids) for lines in (src, ref))
    # without gradients there is room for four times as much, in fewer steps
    longest = int(max(src_ids.lengths.max(), ref_ids.lengths.max()))
    batches = EpochPlan(src_ids.lengths, ref_ids.lengths, 4 * cfg.batch_tokens, longest, seed=0)
    return DataLoader(PairDataset(src_ids, ref_ids), sampler=batches, batch_size=None)
