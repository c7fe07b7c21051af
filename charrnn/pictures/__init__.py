"""What a person looks at: loss curves, and the web page of a model."""
