"""Decides whether a key was seen before, with bounded memory."""

from attrs import define, field


@define
class Recent:
    """The last keys seen, oldest forgotten first. `ring` holds them in order of arrival, `at` is the next slot."""

    ring: list[str] = field(factory=list)
    keys: set[str] = field(factory=set)
    at: int = 0

    def add(self, key: str, capacity: int) -> bool:
        """Remember `key`; return False when it was known already."""
        if key in self.keys:
            return False
        self.keys.add(key)
        if len(self.ring) < capacity:
            self.ring.append(key)
            return True
        self.keys.discard(self.ring[self.at])
        self.ring[self.at] = key
        self.at = (self.at + 1) % capacity
        return True
