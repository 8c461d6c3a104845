"""What is known of the items besides behaviour: their words, counted and understood."""
