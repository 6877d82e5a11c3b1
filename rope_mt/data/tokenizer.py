"""The joint SentencePiece model: trained once a corpus, lossless, carried by every checkpoint."""

import hashlib
import io
import re
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import sentencepiece as spm

from rope_mt.data.text import Warn, normalize
from rope_mt.errors import UserError

PAD, UNK, BOS, EOS = range(4)
LONGEST_PIECE = 16  # characters, SentencePiece's default
LONGEST_READ = 4_192  # bytes of a sentence, SentencePiece's default
LINES_TOO_LONG = f"{{}} lines have more than {LONGEST_READ:,} bytes, the most that SentencePiece reads of a line"
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


def list_lines(numbers: Sequence[int]) -> str:
    """Lines by their numbers: line 2; lines 2, 3, 5, 7, 11 and 4 more."""
    some = ", ".join(f"{n:,}" for n in numbers[:5])
    more = f" and {len(numbers) - 5:,} more" if len(numbers) > 5 else ""
    return f"line{'s' * (len(numbers) > 1)} {some}{more}"


def train_tokenizer(
    sentences: Iterable[str], vocab_size: int, kind: str = "bpe", warn: Warn = lambda line: None
) -> bytes:
    """Train a byte-pair encoding or unigram model on sentences of both languages; return it serialised.

    Identity normalisation and byte fallback make it lossless. Bytes take 256 of the pieces. SentencePiece passes over
    sentences of more than LONGEST_READ bytes, of which a warning tells.

    Raises:
        UserError: the text is too small for so many pieces, or has more characters than that, or all of it is too long.
    """
    model = io.BytesIO()
    failed: list[BaseException] = []
    n_read = n_long = 0

    def text() -> Iterator[str]:
        nonlocal n_read, n_long
        try:
            for sentence in sentences:
                n_read += 1
                n_long += len(sentence) > LONGEST_READ // 4 and len(sentence.encode()) > LONGEST_READ
                yield sentence
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
            too_long = n_long == n_read
            reason = LINES_TOO_LONG.format("all") if too_long else _why(str(error).splitlines()[-1].strip())
            raise UserError(f"cannot make {vocab_size} pieces of this text: {reason}") from error
    finally:
        if interruptible:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if failed:
        raise failed[0]
    if n_long:
        warn(f"{LINES_TOO_LONG.format(f'{n_long:,} of {n_read:,}')}; the pieces are made of the others")
    return model.getvalue()


def _why(reason: str) -> str:
    """What must change, by SentencePiece's last words."""
    if most := re.search(r"Vocabulary size too high .* <= (\d+)", reason):
        return f"it is enough for {most[1]} at most, lower data.vocab_size"
    if least := re.search(r"required_chars\. \d+ vs (\d+)", reason):
        return f"its different characters and the bytes take {least[1]} at least, raise data.vocab_size"
    return f"SentencePiece says {reason}"
