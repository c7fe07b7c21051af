"""A trained model in the hands of its user: one step at a time, the choice of the next character, scoring."""
