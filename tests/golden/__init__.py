"""Recorded results of the original pipeline, run through our public path: `python -m tests.golden FILE.jsonl...`."""
