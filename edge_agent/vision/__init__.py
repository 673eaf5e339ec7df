"""What looks at pixels, up to the classifier; nothing behind it does."""
