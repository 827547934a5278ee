"""The version of lmarc, in one place for the package, the build and every archive's header."""

__version__ = "0.0.1"
