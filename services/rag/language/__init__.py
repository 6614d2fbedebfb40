"""What a question in English or Spanish means: filters that it names, and the rest (docs/search.md)."""
