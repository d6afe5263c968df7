"""Secrets of connections at rest."""

from cryptography.fernet import Fernet, InvalidToken


class SecretsUnreadable(RuntimeError):
    """A stored secret was not encrypted with the configured key."""


class SecretsBox:
    """Seals and opens secrets with the key of ATTAIN_SECRETS_KEY."""

    def __init__(self, key: str) -> None:
        """ValueError unless the key is one of Fernet: 32 bytes in URL-safe Base64."""
        self._fernet = Fernet(key)

    def seal(self, value: str) -> str:
        return self._fernet.encrypt(value.encode()).decode()

    def open(self, ciphertext: str) -> str:
        """Raises SecretsUnreadable."""
        try:
            return self._fernet.decrypt(ciphertext).decode()
        except InvalidToken:
            raise SecretsUnreadable("a stored secret was sealed with another ATTAIN_SECRETS_KEY") from None
