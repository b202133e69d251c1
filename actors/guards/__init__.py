"""The risk guards: one room a guard, each a pure decision on a record of facts, with typed findings."""
