"""The page that reads a visitor's picture."""
