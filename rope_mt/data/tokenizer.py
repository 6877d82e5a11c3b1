"""The joint SentencePiece model: trained once a corpus, lossless, carried by every checkpoint."""

import hashlib
import io
from collections.abc import Iterable

import numpy as np
import sentencepiece as spm

from rope_mt.errors import UserError

PAD, UNK, BOS, EOS = range(4)


class Tokenizer:
    """Text to ids and back. What goes in comes out, a literal U+2581 apart: unknown characters become bytes.

    Raises:
        UserError: `model` is not a SentencePiece model of this project.
    """

    def __init__(self, model: bytes) -> None:
        self.model = model
        self.sha256 = hashlib.sha256(model).hexdigest()
        try:
            self._processor = spm.SentencePieceProcessor(model_proto=model)
            specials = [self._processor.pad_id(), self._processor.unk_id()]
            specials += [self._processor.bos_id(), self._processor.eos_id()]
        except RuntimeError as error:
            raise UserError("the SentencePiece model is damaged or not one: run `rope-mt prepare` again") from error
        if specials != [PAD, UNK, BOS, EOS]:
            raise UserError(f"the SentencePiece model numbers pad, unk, bos and eos {specials}, not [0, 1, 2, 3]")

    def __len__(self) -> int:
        return self._processor.get_piece_size()

    def encode(self, sentences: list[str]) -> list[np.ndarray]:
        """Ids of each sentence as uint16, eos at its end; an empty sentence is eos alone."""
        encoded = self._processor.encode(sentences, out_type=int, add_eos=True)
        return [np.array(ids, dtype=np.uint16) for ids in encoded]

    def decode(self, ids: list[list[int]]) -> list[str]:
        """Text of each sequence of ids; pad, bos and eos say nothing."""
        return self._processor.decode(ids)


def train_tokenizer(sentences: Iterable[str], vocab_size: int) -> bytes:
    """Train a byte-pair encoding on sentences of both languages; return the serialised model.

    Identity normalisation and byte fallback make it lossless. Bytes take 256 of the pieces.

    Raises:
        UserError: the text is too small for so many pieces.
    """
    model = io.BytesIO()
    try:
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            byte_fallback=True,
            character_coverage=0.9999,
            input_sentence_size=2_000_000,
            shuffle_input_sentence=True,
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).splitlines()[-1]
        raise UserError(
            f"cannot make {vocab_size} pieces of this text: lower data.vocab_size ({reason.strip()})"
        ) from error
    return model.getvalue()
