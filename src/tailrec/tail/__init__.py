"""Which items make up the long tail, what they are worth, and how exposed they are."""
