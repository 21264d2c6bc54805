"""Recording jobs in a gateway's process. Needs nothing of the server.

::

    recorder = Recorder("http://127.0.0.1:8000", token, spool="/var/lib/gateway/spool")
    recorder.record(bot="kling", config="a@example.com", endpoint="post-videos", code=201, msec=812)
"""

from genmeter.recorder.middleware import RecorderMiddleware, WsgiRecorderMiddleware
from genmeter.recorder.recorder import Job, Recorder, Stats

__all__ = ["Job", "Recorder", "RecorderMiddleware", "Stats", "WsgiRecorderMiddleware"]
