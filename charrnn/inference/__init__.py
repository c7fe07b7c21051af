"""A trained model in the hands of its user: one step at a time, the next character, beam search, scoring."""
