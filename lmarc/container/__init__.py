"""The bytes on disk: spec/FORMAT.md in code, and the only code that knows them."""
