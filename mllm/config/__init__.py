"""Configs and the command line; before stage 1. Entry scripts start with `config.prepare_args`."""
