"""A device's credentials, which follow their files: a renewed certificate, a new revocation list."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from pathlib import Path

from securesplit.channel.trust import Trust
from securesplit.device.options import ClientOptions
from securesplit.errors import CredentialError
from securesplit.forking import own_lock
from securesplit.i18n import gettext_noop
from securesplit.pki import keystore
from securesplit.pki.credentials import Credentials
from securesplit.pki.watch import FileWatch
from securesplit.privacy import PRIVACY_LOGGER
from securesplit.transport import openssl_settings

_log = logging.getLogger(PRIVACY_LOGGER)


class ReloadingCredentials:
    """Credentials that are read again when their files have changed.

    Args:
        options: of the client; the folder is not looked at where they hold credentials that are loaded already.

    Raises:
        CredentialError: keys or certificates are missing or not valid.
        ConfigError: the name cannot be one of a client, or OpenSSL's settings allow no handshake.
    """

    def __init__(self, options: ClientOptions) -> None:
        openssl_settings.check()
        self._folder, self._name = Path(options.certs), options.client
        given = options.credentials
        paths = keystore.client_files(self._folder, self._name) if given is None else []
        self._watch = FileWatch(paths, settle_s=0.0, clock=time.monotonic)
        self._lock = own_lock()
        self.current = given or self._load()

    def renewed(self) -> Credentials | None:
        """The new credentials where the files have changed since the last call, and are good; else None.

        Those with an older revocation list are not: with it a revoked worker would be trusted again. A warning says so.
        """
        with self._lock.value:
            if not self._watch.has_changed() and not self._watch.is_unread:
                return None
            try:
                found = self._watch.read(self._load)
            except CredentialError:
                return None  # half a copy, or the clock is wrong: the old ones serve until they are good
            try:
                Trust(found).check_follows(Trust(self.current))
            except CredentialError as error:
                said = gettext_noop("the new files in {0} are not used: {1} ({2})")
                _log.warning(said.format(self._folder, error.message, error.hint))
                return None
            self.current = found
            return found

    def _load(self) -> Credentials:
        return keystore.load_client(self._folder, self._name, now=datetime.now(UTC))
