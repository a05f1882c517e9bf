"""What FastSentiment is measured beside: see `__main__.py`."""
