"""Figures of genmeter beside a peer's, as ratios, in one run: ``python -m bench --help``.

The peer is what a good team would write first: FastAPI, SQLAlchemy and PostgreSQL. Both hold the
same records, are asked the same queries over HTTP in turn, and must give the same answers.

``python -m bench.load`` is a load on a running server, ``python -m bench.scale`` the figures behind
docs/scale.md.
"""
