"""The shared coding core: everything predicted becomes binary decisions, coded arithmetically."""
