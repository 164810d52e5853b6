"""``python -m training.remember [FOLDER]``: store what a converted model draws on this CPU.

``liquid doctor`` compares other machines with it. To be run whenever the bundled model changes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from liquid_mlx.doctor import remember
from liquid_mlx.hub import DEMO, resolve

if __name__ == "__main__":
    print(remember(Path(sys.argv[1]) if len(sys.argv) > 1 else resolve(DEMO)))
