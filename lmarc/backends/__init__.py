"""Backends: the plugin contract, the registry, and the built-in store, zstd and cm."""
