"""Model identity: hash a model file, find a named hash on this disk."""
