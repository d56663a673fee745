"""Django's settings of one candidate: what the environment holds, as JSON.

By the environment and not by an argument, so that every process that a worker starts (readers, gunicorn, a process
whose start is timed) is the same candidate without further ado.
"""

from __future__ import annotations

import json
import os

from benchmarks.candidates import VARIABLE

globals().update(json.loads(os.environ[VARIABLE]))
