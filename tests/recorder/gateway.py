"""A gateway that records jobs as fast as it can, and says which it has recorded.

``python -m tests.recorder.gateway URL TOKEN SPOOL PREFIX COUNT`` writes a job id before and after
each record, and sends what waits at its end.
"""

import os
import sys

from genmeter.recorder import Recorder


def main() -> None:
    """Record them all."""
    url, token, spool, prefix, count = sys.argv[1:]
    recorder = Recorder(url, token, spool, flush_s=0.02, fsync_s=0.05)
    for number in range(int(count)):
        jobid = f"{prefix}-{number}"
        os.write(1, f"begun {jobid}\n".encode())
        recorder.record(
            jobid=jobid, bot="kling", config="a@example.com", endpoint="post", code=200, msec=1
        )
        os.write(1, f"done {jobid}\n".encode())
    recorder.close(60)
    waiting = recorder.stats().waiting
    assert not waiting, recorder.stats()


if __name__ == "__main__":
    main()
