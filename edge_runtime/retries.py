"""How often to try again what fails: ever rarer, and at once when something has changed."""

from __future__ import annotations

from typing import Final

# What fails again and again is tried at most so many looks apart.
_MOST_LOOKS: Final = 256


class Retries:
    """Makes attempts at the same thing rarer the longer they fail."""

    def __init__(self) -> None:
        self.succeeded()

    def succeeded(self) -> None:
        """Begin anew."""
        self._key: object = None
        self._apart = self._left = 0

    def due(self, key: object) -> bool:
        """Tell whether to try now; ``key`` says what the attempt depends on."""
        if key != self._key:
            self.succeeded()
            self._key = key
        if self._left:
            self._left -= 1
            return False
        self._apart = min(_MOST_LOOKS, max(1, 2 * self._apart))
        self._left = self._apart
        return True
