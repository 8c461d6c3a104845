"""Raw tables in, histories out: ingest, clean, store, split."""
