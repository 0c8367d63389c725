"""Cassettes: recorded answers for VCR."""
