"""The explorer of a sweep's front: the snapshot of its candidates, the pages that show it, and where they are served."""
