"""The world outside: vocabulary, the venue port, venue rules, costs, protocol adapters."""
