"""The formats of responses: JSON, NDJSON, CSV, Parquet, Arrow."""
