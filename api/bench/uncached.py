"""`python -m api.bench.uncached`: our server with a cache of tiles that keeps none, so that each tile is made when it is asked for."""

from __future__ import annotations

import sys

from api import serve, tiles
from api.settings import Settings

if __name__ == "__main__":
    tiles.KEEP_BYTES = 0
    sys.exit(serve.main(Settings.from_environment(), []))
