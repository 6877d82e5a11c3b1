"""The embedded corpus: a small English-German grammar that writes its own sentences."""

from rope_mt.data.toy.corpus import ToyCorpus, bag_of_words, generate

__all__ = ["ToyCorpus", "bag_of_words", "generate"]
