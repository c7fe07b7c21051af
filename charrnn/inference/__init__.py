"""A trained model in the hands of its user: a step at a time, the next character, beam search, scoring, copies."""
