"""The tests of the export: `make test` runs them.

- `test_download`: needs no PyTorch, and runs where there is none;
- `test_export`: makes models with PyTorch, and serves what becomes of them.

There is no hub to reach: `stand_in` speaks as much of its HTTP API as a download needs.
"""
