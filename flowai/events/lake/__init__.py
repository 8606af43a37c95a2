"""The event log as Parquet: compaction, sync with an object store, validation."""
