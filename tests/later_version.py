"""A genmeter of later on, whose schema has one column more, run over a folder of today's.

``python -m tests.later_version FOLDER`` prints how many records there are and what is in the
new column; it is a program of its own because a process has one engine.
"""

import sys
from pathlib import Path

from genmeter import sql
from genmeter.app import Service
from tests.support import settings as of_test

today = sql.migrations


def later(layout: sql.Layout) -> tuple[tuple[sql.Step, ...], ...]:
    """Today's steps, and one that adds a column."""
    return (*today(layout), (sql.add_column(sql.TABLE, "region", "String", "somewhere"),))


if __name__ == "__main__":
    sql.migrations = later
    with Service(of_test(Path(sys.argv[1]))) as service:
        engine = service.store._engine
        for question in (
            f"SELECT count() FROM {sql.TABLE} FINAL",
            f"SELECT DISTINCT region FROM {sql.TABLE}",
            sql.READ_VERSION,
        ):
            sys.stdout.write(engine.fetch(question).decode())
