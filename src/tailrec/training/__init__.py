"""Teaching encoders: what the shop's words and behaviour add to a language model."""
