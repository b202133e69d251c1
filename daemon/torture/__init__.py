"""Simulated bad days: a whole desk against faulty venues, feeds, disks and people, and what must hold all the while."""
