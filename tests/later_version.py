"""A genmeter of later on, whose schema has one column more, run over a folder of today's.

``python -m tests.later_version FOLDER`` prints how many records there are and what is in the
new column; with arguments behind the folder it is the command line. It is a program of its own
because a process has one engine.
"""

import sys
from pathlib import Path

from genmeter.cli import main
from genmeter.server.service import Service
from genmeter.storage import schema
from genmeter.storage.engine import base
from genmeter.storage.sql import base as sql
from tests.support import settings as of_test

today = schema.migrations


def later(layout: base.Layout) -> tuple[tuple[schema.Step, ...], ...]:
    """Today's steps, and one that adds a column."""
    return (*today(layout), (schema.add_column(sql.TABLE, "region", "LowCardinality(String)"),))


if __name__ == "__main__":
    schema.migrations = later
    sql.COLUMNS["region"] = "LowCardinality(String)"
    if len(sys.argv) > 2:
        main(sys.argv[2:])
    with Service(of_test(Path(sys.argv[1]))) as service:
        engine = service.engine
        for question in (
            f"SELECT count() FROM {sql.TABLE} FINAL",
            f"SELECT DISTINCT region FROM {sql.TABLE}",
            schema.READ_VERSION,
        ):
            sys.stdout.write(engine.fetch(question).decode())
