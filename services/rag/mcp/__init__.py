"""The questions as tools for assistants, by the Model Context Protocol: a thin layer over the client."""
