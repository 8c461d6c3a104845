"""Sources: each proposes items for requests; one file a model."""
