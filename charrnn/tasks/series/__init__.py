"""Regression: predicts the next row of a series of numbers, or target columns of the same row."""
