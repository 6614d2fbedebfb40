"""Answers a question in words: what the replicas find, told by a language model or as a plain summary.

It runs beside whoever asks (the command line, a server for programs), never inside a replica. See docs/assistant.md.
"""
