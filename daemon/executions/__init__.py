"""Executions in a database of their own: written beside the log, made anew from it, read by people."""

DATABASE_NAME = "executions.sqlite"
