"""How good slates are: accuracy, the tail, exposure, and what is chance."""
