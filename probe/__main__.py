"""`python -m probe` is `metaprobe`."""

import sys

from probe.cli import main

sys.exit(main())
