"""Configuration that changes while services run: one sealed document, watched by each of them."""
