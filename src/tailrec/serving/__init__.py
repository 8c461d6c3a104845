"""The shop as a service: recommendations over HTTP, events from streams."""
