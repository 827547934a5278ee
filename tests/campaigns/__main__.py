"""``python -m tests.campaigns NAME``."""

import sys

from tests.campaigns.runner import main

if __name__ == "__main__":
    sys.exit(main())
