"""The transport seam to ClickHouse, in this process or elsewhere."""
