"""The page that reads a picture somebody hands in."""
