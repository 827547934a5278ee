"""Making the trained state of the model: not part of what is installed."""
