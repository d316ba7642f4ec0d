"""One module per record (台账/个案); each ends in `RECORD = Record(...)`."""
