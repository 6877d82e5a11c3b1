from rope_mt.data.toy.corpus import ToyCorpus, generate

__all__ = ["ToyCorpus", "generate"]
