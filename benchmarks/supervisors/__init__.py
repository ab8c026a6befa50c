"""naq and other process managers on the same work; see ``__main__``."""
