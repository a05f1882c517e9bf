"""The servers that FastSentiment is compared with: see `__main__.py`."""
