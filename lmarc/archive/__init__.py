"""The pipeline: walking trees, planning chunks, packing, reading, safe extraction."""
