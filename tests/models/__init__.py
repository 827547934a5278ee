"""Model identity."""
