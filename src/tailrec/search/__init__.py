"""Finding items by words: what they say, how they are spelt, what they mean, who wants them."""
