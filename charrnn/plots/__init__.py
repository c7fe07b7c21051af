"""What a person looks at: loss curves, gradients on their way back, what units do with a text, a model's web page."""
