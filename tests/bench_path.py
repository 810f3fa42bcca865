"""Makes the programs in bench/ importable for the tests of their parts."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "bench"))
