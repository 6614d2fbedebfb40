"""The chain: what each sealed day is made of, link by link, signed and bound to the link before (docs/chain.md)."""
