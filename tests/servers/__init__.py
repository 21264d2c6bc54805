"""Real servers for tests: ClickHouse alone and as a cluster, ZooKeeper, and what stands between.

Everything listens on 127.0.0.1, keeps its files in a folder of the test's and ends with the tests,
also where they are interrupted.
"""
