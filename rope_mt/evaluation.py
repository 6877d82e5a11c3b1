"""`rope-mt eval`: translate a test set with a checkpoint and score it, exactly as training does at its end."""

from pathlib import Path

from rope_mt.config.commands import EvalConfig
from rope_mt.data import corpus, text
from rope_mt.device import choose_device, choose_precision
from rope_mt.runs import checkpoint
from rope_mt.runs.checkpoint import Checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.scoring import Scores, score
from rope_mt.translation import Translator, changed


def score_translations(translator: Translator, src: list[str], ref: list[str]) -> tuple[list[str], Scores]:
    """The hypotheses for these sources, and their scores against the references."""
    hypotheses = translator.translate(src)
    return hypotheses, score(hypotheses, ref)


def evaluate(cfg: EvalConfig) -> float:
    """Print the scores of a run or checkpoint on its test set, or on `data.test`; return BLEU."""
    path = Path(cfg.checkpoint)
    ckpt = checkpoint.load(path)
    device = choose_device(cfg.device)
    precision = choose_precision(cfg.precision or ckpt.config.trainer.precision, device)
    src, ref = _test_set(cfg, path, ckpt)
    translator = Translator.of(ckpt, changed(ckpt.config.search, cfg.search), device, precision)
    _, scores = score_translations(translator, src, ref)
    print(scores.bleu_detail)
    print(f"chrF2|{scores.chrf_signature} = {scores.chrf:.2f}")
    return scores.bleu


def _test_set(cfg: EvalConfig, path: Path, ckpt: Checkpoint) -> tuple[list[str], list[str]]:
    """What was asked for, else what the run keeps beside its checkpoint, else what the run's configuration names."""
    data = ckpt.config.data
    if cfg.data.test is not None:
        names = [cfg.data.test] if isinstance(cfg.data.test, str) else list(cfg.data.test)
        return text.read_test_set(text.pairs_of_files(names, data.src_lang, data.tgt_lang))
    run = RunFolder(path if path.is_dir() else path.parent.parent)
    if run.test_src.is_file() and run.test_ref.is_file():
        return text.read_test_set([(run.test_src, run.test_ref)])
    return text.read_test_set(corpus.find(data, "test"))
