"""``python -m fleet``."""

import sys

from fleet.main import main

sys.exit(main())
