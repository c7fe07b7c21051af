"""What a person looks at: loss curves."""
