"""CTranslate2 computes with an exported model what the model itself computes."""

import io
import sys
from dataclasses import replace
from pathlib import Path

import ctranslate2
import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from rope_mt.cli.main import main
from rope_mt.config.position import POSITION_CONFIGS, PositionsConfig, RelativeConfig, RopeConfig, SinusoidalConfig
from rope_mt.config.training import SearchConfig
from rope_mt.data.tokenizer import BOS, EOS, PAD
from rope_mt.model.transformer import Transformer
from rope_mt.runs.checkpoint import Checkpoint
from rope_mt.translation import ctranslate2 as ct2
from rope_mt.translation.translator import Translator

VARIANTS = {
    "sinusoidal-add": (SinusoidalConfig(), {}),
    "sinusoidal-add, pre-norm": (SinusoidalConfig(), {"norm": "pre"}),
    "rope": (RopeConfig(), {}),
    "rope, pre-norm": (RopeConfig(), {"norm": "pre"}),
    "rope, halves": (RopeConfig(layout="half"), {}),
    "rope, another base": (RopeConfig(theta=50.0), {}),
    "rope, a fraction": (RopeConfig(fraction=0.5), {"d_model": 36}),
    "rope, halves of a fraction": (RopeConfig(layout="half", fraction=0.5), {"d_model": 36}),
    "rope, an odd fraction": (RopeConfig(fraction=0.3), {}),
    "relative": (RelativeConfig(clip=5), {}),
    "relative, pre-norm": (RelativeConfig(clip=5), {"norm": "pre"}),
    "relative, keys alone": (RelativeConfig(clip=5, values=False), {}),
}


def exported(ckpt: Checkpoint, folder: Path) -> ctranslate2.Translator:
    ct2.specification(ckpt).save(str(folder))
    return ctranslate2.Translator(str(folder), compute_type="float32", intra_threads=1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_token_of_a_given_translation_is_as_likely(variant, untrained, pairs, tmp_path):
    position, sizes = VARIANTS[variant]
    ckpt = untrained(position, **sizes)
    src, tgt = (ckpt.tokenizer.encode([pair[side] for pair in pairs[:9]]) for side in (0, 1))
    src.append([id for ids in src for id in ids])  # sentences longer than any clipped distance
    tgt.append([id for ids in tgt for id in ids])
    pieces, _, _ = ckpt.tokenizer.pieces()
    src_pieces, tgt_pieces = ([[pieces[id] for id in ids] for ids in side] for side in (src, tgt))
    scored = exported(ckpt, tmp_path).score_batch(src_pieces, tgt_pieces)
    if position.name != "sinusoidal-add":  # its table is no weight of ours, and is written too
        numbers = sum(tensor.numel() for tensor in ckpt.weights.values())
        assert (tmp_path / "model.bin").stat().st_size < 4 * numbers * 1.2  # bytes: each number is written once
    model = Translator.of(ckpt, ckpt.config.search, torch.device("cpu"), "fp32").model.eval()
    with torch.inference_mode():
        for s, t, theirs in zip(src, tgt, scored, strict=True):
            log_probs = model(torch.tensor([[*s, EOS]]), torch.tensor([[BOS, *t]])).log_softmax(-1)[0]
            ours = log_probs.gather(-1, torch.tensor([*t, EOS])[:, None])[:, 0]
            torch.testing.assert_close(torch.tensor(theirs.log_probs), ours, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def fitted(untrained, tokenizer, pairs) -> Checkpoint:
    """A model that has half learned a few sentences, so that search has something to find and to be wrong about."""
    ckpt, learned = untrained(RopeConfig(), d_model=36, n_layers=1), pairs[:10]
    torch.manual_seed(0)
    model = Transformer(ckpt.config.model, ckpt.config.position, len(tokenizer), PAD)

    def batch(side: int, first: list[int], last: list[int]) -> torch.Tensor:
        rows = [torch.tensor([*first, *ids, *last]) for ids in tokenizer.encode([pair[side] for pair in learned])]
        return pad_sequence(rows, batch_first=True, padding_value=PAD)

    src, tgt, then = batch(0, [], [EOS]), batch(1, [BOS], []), batch(1, [], [EOS])
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(100):
        optimizer.zero_grad()
        F.cross_entropy(model(src, tgt).flatten(0, 1), then.flatten(), ignore_index=PAD).backward()
        optimizer.step()
    return replace(ckpt, weights=model.state_dict())


@pytest.mark.parametrize("beam", [1, 4])
def test_the_printed_program_translates_as_we_do(beam, fitted, saved, pairs, tmp_path, monkeypatch, capsys):
    # a limit that few hypotheses reach, since both end differently there
    search = SearchConfig(beam=beam, length_penalty=0.6, max_len_a=4.0)
    ckpt = replace(fitted, config=replace(fitted.config, search=search))
    folder = saved(ckpt, tmp_path / "run")
    assert main(["export", str(folder), "--to", "ctranslate2"]) == 0
    program = capsys.readouterr().out
    assert (folder / "export-ctranslate2" / "model.bin").is_file()
    lines = [source for source, _ in pairs[:40]] + ["", "  a  snowy cafe\u0301 ☃ "]
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(line + "\n" for line in lines)))
    exec(compile(program, "printed", "exec"), {})
    theirs = capsys.readouterr().out.split("\n")[:-1]
    ours = Translator.of(ckpt, search, torch.device("cpu"), "fp32").translate(lines)
    assert len(set(ours)) > 20
    assert theirs == ours


@pytest.fixture
def refused(saved, tmp_path, capsys):
    """The one line that `rope-mt export` prints about a model that it refuses; it leaves no file."""

    def refuse(ckpt: Checkpoint, *words: str) -> str:
        folder = saved(ckpt, tmp_path / "run")
        before = {*folder.rglob("*")}
        assert main(["export", str(folder), *(words or ("--to", "ctranslate2"))]) == 2
        assert {*folder.rglob("*")} == before
        printed = capsys.readouterr()
        assert (printed.out, printed.err.count("\n")) == ("", 1)
        return printed.err

    return refuse


def test_other_models_are_refused_by_their_setting(untrained, refused):
    for scheme in (scheme for scheme in POSITION_CONFIGS.values() if scheme not in ct2.ABLE):
        message = refused(untrained(scheme()))
        assert f"position={scheme.name} is not exported" in message
        assert "one of sinusoidal-add, relative, rope" in message
    assert "model.attention=linear is not" in refused(untrained(RopeConfig(), attention="linear"))
    assert "position.cross_attention=true is not" in refused(untrained(RopeConfig(cross_attention=True)))
    assert "position.scaling=ntk is not" in refused(untrained(RopeConfig(scaling="ntk", factor=2)))
    assert "position.kept=0.5 is not" in refused(untrained(RopeConfig(kept=0.5)))
    drawn = untrained(RopeConfig())
    drawn.config.positions = PositionsConfig("random", 300, "random")
    assert "positions.eval=random is not" in refused(drawn)


def test_a_missing_package_and_wrong_words_are_named(untrained, refused, monkeypatch):
    ckpt = untrained(RopeConfig())
    assert "--to" in refused(ckpt, "--to", "onnx")
    assert "--to" in refused(ckpt, "--out", "somewhere")
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    assert "pip install 'rope-mt[ct2]'" in refused(ckpt)


def test_the_table_of_positions_ends_where_the_program_says(untrained, tmp_path):
    ckpt = untrained(SinusoidalConfig())
    assert ct2.usage(ckpt.config, tmp_path).splitlines()[-1].startswith("# positions end at 2,048 tokens,")
    assert "positions end" not in ct2.usage(untrained(RopeConfig()).config, tmp_path)
    translator = exported(ckpt, tmp_path)
    limits = {"beam_size": 1, "max_input_length": 0, "max_decoding_length": 1}
    translator.translate_batch([["▁a"] * 2047], **limits)
    with pytest.raises(RuntimeError, match="2048"):
        translator.translate_batch([["▁a"] * 2048], **limits)


def test_the_program_tells_of_a_length_penalty_that_ctranslate2_lacks(untrained, tmp_path):
    cfg = untrained(RopeConfig()).config
    assert "gnmt" not in ct2.usage(cfg, tmp_path)
    assert "gnmt" in ct2.usage(replace(cfg, search=replace(cfg.search, length_penalty_form="gnmt")), tmp_path)
