"""``python -m segadv_monai``, the same as the command ``segadv_monai``."""

import sys

from segadv_monai.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
