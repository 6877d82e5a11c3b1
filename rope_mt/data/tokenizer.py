"""The joint SentencePiece model: trained once a corpus, lossless, carried by every checkpoint."""

import hashlib
import io
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import sentencepiece as spm

from rope_mt.data.text import normalize
from rope_mt.errors import UserError

PAD, UNK, BOS, EOS = range(4)
LONGEST_PIECE = 16  # characters, SentencePiece's default
THREADS = 4  # of training: another number makes another unigram model
# Tokens that a model reads of a line. No sentence is so long: it is four times what training takes by default, and what
# fairseq's models read. A line without end would take memory by the square of its length.
LONGEST = 1_024


class Tokenizer:
    """Text to ids and back without loss, except a literal U+2581: unknown characters become bytes."""

    def __init__(self, model: bytes) -> None:
        self.model = model
        self.sha256 = hashlib.sha256(model).hexdigest()
        self._processor = spm.SentencePieceProcessor(model_proto=model)

    def __len__(self) -> int:
        return self._processor.get_piece_size()

    def encode(self, sentences: Sequence[str], threads: int = 1) -> list[list[int]]:
        """Ids of each sentence, without bos and eos. Their number does not depend on the threads."""
        return self._processor.encode([*sentences], out_type=int, num_threads=threads)

    def pieces(self) -> tuple[list[str], list[float], list[int]]:
        """The text and the score of every id, and the ids that stand for bytes."""
        ids, model = range(len(self)), self._processor
        return [*map(model.id_to_piece, ids)], [*map(model.get_score, ids)], [i for i in ids if model.is_byte(i)]

    def decode(self, ids: list[list[int]]) -> list[str]:
        """Text of each sequence of ids; pad, bos and eos are ignored."""
        return self._processor.decode(ids) if ids else []  # it decodes an empty list to one empty text


class Read(NamedTuple):
    """The ids of each line, without bos and eos, and the numbers, from 1, of the lines that were cut."""

    ids: list[list[int]]
    cut: list[int]


def read(tokenizer: Tokenizer, lines: Sequence[str], most: int = LONGEST) -> Read:
    """The first `most` tokens of each line."""
    whole = tokenizer.encode([normalize(line, most * LONGEST_PIECE) for line in lines])
    return Read([ids[:most] for ids in whole], [n for n, ids in enumerate(whole, start=1) if len(ids) > most])


def list_lines(numbers: Sequence[int], named: int = 5) -> str:
    """Lines by their numbers: line 2; lines 2, 3, 5, 7, 11 and 4 more."""
    some = ", ".join(f"{n:,}" for n in numbers[:named])
    more = f" and {len(numbers) - named:,} more" if len(numbers) > named else ""
    return f"line{'s' * (len(numbers) > 1)} {some}{more}"


def train_tokenizer(sentences: Iterable[str], vocab_size: int, kind: str = "bpe") -> bytes:
    """Train a byte-pair encoding or unigram model on sentences of both languages; return it serialised.

    Identity normalisation and byte fallback make it lossless. Bytes take 256 of the pieces.

    Raises:
        UserError: the text is too small for so many pieces, or has more characters than that.
    """
    model = io.BytesIO()
    failed: list[BaseException] = []

    def text() -> Iterator[str]:
        try:
            yield from sentences
        except (Exception, KeyboardInterrupt) as error:
            failed.append(error)  # SentencePiece reports its own errors alone
            raise
        if interruptible:  # the C++ that follows takes minutes, and Python would handle Ctrl-C after it
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    in_main = threading.current_thread() is threading.main_thread()  # others may not set a handler
    interruptible = in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        spm.SentencePieceTrainer.train(
            sentence_iterator=text(),
            model_writer=model,
            model_type=kind,
            vocab_size=vocab_size,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            byte_fallback=True,
            character_coverage=0.9999,
            num_threads=THREADS,
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            minloglevel=2,
        )
    except RuntimeError as error:
        if not failed:
            reason = str(error).splitlines()[-1]
            remedy = "raise" if "required_chars" in reason else "lower"  # the text has more characters than pieces
            raise UserError(
                f"cannot make {vocab_size} pieces of this text: {remedy} data.vocab_size ({reason.strip()})"
            ) from error
    finally:
        if interruptible:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if failed:
        raise failed[0]
    return model.getvalue()
