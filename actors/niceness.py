"""Who goes first where processors are short: scheduling priorities of our processes."""

import os
from pathlib import Path

# Supervisors, whose work can wait a moment, behind what is answered at once and what captures.
SUPERVISING = 5
# Media work, behind everything else on the machine: no task and no live window waits for it.
MEDIA = 15


def step_back(niceness: int) -> None:
    """Let others go first from now on, as far as ``nice`` says it: 0 to 19."""
    # Linux has a niceness per thread, which later threads take over.
    for thread in Path("/proc/self/task").iterdir():
        if os.getpriority(os.PRIO_PROCESS, int(thread.name)) < niceness:
            os.setpriority(os.PRIO_PROCESS, int(thread.name), niceness)
