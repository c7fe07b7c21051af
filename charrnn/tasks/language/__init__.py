"""The language model: each character is predicted from those before it."""
