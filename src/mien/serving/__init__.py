"""Serving: the page that runs in a browser."""
