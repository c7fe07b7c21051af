"""What is learnt, a file a topology: how its files are read and dealt out, and how outputs become answers."""
