"""Records in ClickHouse, in this process or on servers."""
