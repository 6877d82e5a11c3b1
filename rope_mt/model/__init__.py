"""The Transformer: from token ids to logits and loss, and the search for a translation."""
