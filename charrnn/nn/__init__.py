"""The mathematics: arrays in, arrays out. No files, no vocabulary, no configuration."""
