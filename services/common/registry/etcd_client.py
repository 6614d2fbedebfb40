"""Asks an etcd cluster (3.4 or later) over its HTTP gateway: TLS, logins, and one clear sentence for what goes wrong.

The client library is etcd3gw: docs/decisions/0001-etcd-client.md says why.
"""

from __future__ import annotations

import threading
from base64 import b64encode
from typing import TYPE_CHECKING, Any, TypeVar, cast

import requests
from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import ConnectionFailedError, ConnectionTimeoutError, Etcd3Exception
from etcd3gw.lease import Lease
from urllib3 import Timeout

from services.common.registry.port import RegistryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.common.registry.etcd_url import EtcdSettings
    from services.common.registry.keys import RegistryKeys

_API_PATH = "/v3/"  # etcd 3.4 and later; naming it saves a request for the version
_GONE = -1  # the remaining seconds that etcd3gw reports for a lease which no longer is
# What etcd says of a token that has run out, that a restarted member has forgotten, or from before a change of rights.
_STALE_TOKEN = ("invalid auth token", "revision in header is old", "revision of auth store is old")
_MOST_SAID = 120

# What etcd says, and what an operator has to do about it.
_REFUSALS = {
    "invalid user ID or password": "refuses the user or the password in the file `login` of registry_keys",
    "user name is empty": "wants a user and a password: put them into the file `login` of registry_keys",
    "authentication is not enabled": "has no users switched on: run `etcdctl auth enable`, or remove the file `login`",
    "CommonName of client": "takes no client certificate with a common name over HTTP: make client.pem without one",
}
# What OpenSSL and the system say, for which requests has no classes.
_CLIENT_REFUSED = (
    "does not accept this client's certificate: check client.pem and client-key.pem of registry_keys"
)
_TLS_REFUSALS = {
    "CERTIFICATE_VERIFY_FAILED": "has a certificate that ca.pem of registry_keys did not sign, that has run out, or "
    "that is of another host",
    "CERTIFICATE_REQUIRED": _CLIENT_REFUSED,
    "BAD_CERTIFICATE": _CLIENT_REFUSED,
    "UNKNOWN_CA": _CLIENT_REFUSED,
    "WRONG_VERSION_NUMBER": "does not speak TLS: give it certificates, or write etcd:// where it is on loopback",
}
# An etcd that wants something else and one that is being stopped hang up in the same way.
_BROKE_OFF = (
    "broke off the connection; if it runs, it may speak TLS where plain text was asked for or the other way round, or "
    "not accept this client's certificate (client.pem of registry_keys)"
)
_HUNG_UP = dict.fromkeys(
    ("RemoteDisconnected", "EOF occurred in violation of protocol", "Connection reset by peer"), _BROKE_OFF
)

_Answer = TypeVar("_Answer")


class EtcdClient:
    """Asks the members of one etcd cluster, beginning with the one that answered last; safe for several threads.

    It talks to etcd only when called, and makes a connection for each call. Where there is a login, the token that
    etcd gives for it is kept until etcd does not know it any more, or no member answers.
    """

    def __init__(self, settings: EtcdSettings, keys: RegistryKeys) -> None:
        self._settings = settings
        self._keys = keys
        self._endpoints = settings.endpoints
        self._share_s = settings.timeout_s / len(settings.endpoints)
        self._preferred = 0
        self._token: str | None = None
        self._logging_in = threading.Lock()

    def ask(self, call: Callable[[Etcd3Client], _Answer]) -> _Answer:
        """Make one request; each endpoint gets an equal share of the time.

        Raises:
            RegistryUnavailable: None of them gave a sound answer.
        """
        first, count = self._preferred, len(self._endpoints)
        refusals, failures = [], []
        for index in ((first + offset) % count for offset in range(count)):
            try:
                answer = self._ask_one(index, call)
            except (Etcd3Exception, requests.RequestException, OSError) as error:
                refusal = self._refusal(error)
                if refusal is None:
                    failures.append(f"{self._name(index)} {self._outage(error)}")
                else:
                    refusals.append(f"{self._name(index)} {refusal}")
            except (KeyError, TypeError, ValueError, AttributeError):
                failures.append(f"{self._name(index)} gave an answer that is not etcd's")
            else:
                self._preferred = index
                return answer
        # A token names a place in etcd's log. An etcd whose data was lost waits for that place, without an answer.
        # While one member alone is silent the others take it: logins are dear, and all services would log in at once.
        self._forget()
        if refusals:
            raise RegistryUnavailable(
                f"The registry in etcd cannot be used: {'; '.join(refusals + failures)}."
            )
        raise RegistryUnavailable(
            f"No etcd answered: {'; '.join(failures)}. Check that it runs and can be reached."
        )

    def put_if(self, key: str, value: bytes, seen: int | None, lease: int | None = None) -> int | None:
        """Put a value if the key still is as it was seen: of the modification revision `seen`, or absent where None.

        Gives the new revision, or None where the key is another by now. It may be so by this very call: a member that
        wrote it and did not answer in time is followed by another that is asked. Raises as `ask` does; then too the
        value may be written.
        """
        name = b64encode(key.encode()).decode()
        state: dict[str, Any] = (
            {"target": "CREATE", "create_revision": 0}
            if seen is None
            else {"target": "MOD", "mod_revision": seen}
        )
        put: dict[str, Any] = {"key": name, "value": b64encode(value).decode()}
        if lease is not None:
            put["lease"] = lease
        request = {
            "compare": [{"key": name, "result": "EQUAL", **state}],
            "success": [{"request_put": put}],
            "failure": [],
        }
        return self.ask(lambda client: _revision_of(client.transaction(request)))

    def grant(self, seconds: int) -> int:
        """Make a lease and give its id. Raises as `ask` does."""
        return self.ask(lambda client: client.lease(seconds).id)

    def renew(self, lease: int) -> bool:
        """Give a lease its full length again; False where it is gone. Raises as `ask` does."""
        return self.ask(lambda client: Lease(lease, client).refresh()) != _GONE

    def revoke(self, lease: int) -> None:
        """End a lease and delete the keys that hang on it. Raises as `ask` does."""
        self.ask(lambda client: Lease(lease, client).revoke())

    def _ask_one(self, index: int, call: Callable[[Etcd3Client], _Answer]) -> _Answer:
        with requests.Session() as session:
            # A proxy named in the environment must not stand between a service and its registry.
            session.trust_env = False
            client = self._client(index, session)
            if self._keys.login is None:
                return call(client)
            token = self._log_in(client, None)
            session.headers["Authorization"] = token
            try:
                return call(client)
            except Etcd3Exception as error:
                if not _says(error, *_STALE_TOKEN):
                    raise
            session.headers["Authorization"] = self._log_in(client, token)
            return call(client)

    def _client(self, index: int, session: requests.Session) -> Etcd3Client:
        host, port = self._endpoints[index]
        if self._keys.ca is not None:
            session.verify = str(self._keys.ca)
        if self._keys.certificate is not None:
            certificate, key = self._keys.certificate
            session.cert = (str(certificate), str(key))
        # requests takes urllib3's Timeout, which bounds connecting and waiting together.
        timeout = cast("Any", Timeout(total=self._share_s))
        protocol = "https" if self._settings.tls else "http"
        return Etcd3Client(host, port, protocol, timeout=timeout, api_path=_API_PATH, session=session)

    def _log_in(self, client: Etcd3Client, stale: str | None) -> str:
        """The token that is kept, or a new one where there is none but `stale`."""
        with self._logging_in:
            login = self._keys.login
            if login is not None and self._token in {None, stale}:
                client.session.headers.pop("Authorization", None)
                said = client.post(
                    client.get_url("/auth/authenticate"),
                    json={"name": login.user, "password": login.password},
                )
                self._token = str(said["token"])
            return self._token or ""

    def _forget(self) -> None:
        with self._logging_in:
            self._token = None

    def _outage(self, error: Exception) -> str:
        if isinstance(error, ConnectionTimeoutError):
            return f"did not answer within {self._share_s:.2g} s"
        if isinstance(error, ConnectionFailedError):
            return _said_first(error, _HUNG_UP) or "could not be connected to"
        return f"said {_said(error)[:_MOST_SAID]!r}"

    def _refusal(self, error: Exception) -> str | None:
        """What an operator has to put right, or None where it is not known to be of that kind."""
        if isinstance(error, ConnectionFailedError):
            return _said_first(error, _TLS_REFUSALS)
        if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
            return f"could not be asked, because a file of registry_keys cannot be used ({error})"
        if _says(error, "permission denied"):
            user = self._keys.login.user if self._keys.login is not None else ""
            return f"gives the user {user!r} no right to keys below {self._settings.prefix}/ (docs/runbooks/etcd.md)"
        return _said_first(error, _REFUSALS)

    def _name(self, index: int) -> str:
        host, port = self._endpoints[index]
        return f"{host}:{port}"


def _revision_of(answer: Any) -> int | None:
    """The revision that a transaction made; None where it made none. Raises what `ask` takes for no answer of etcd."""
    return int(answer["header"]["revision"]) if answer.get("succeeded", False) else None


def _said(error: Exception) -> str:
    return str(getattr(error, "detail_text", None) or error)


def _says(error: Exception, *words: str) -> bool:
    return any(word in _said(error) for word in words)


def _said_first(error: Exception, sentences: Mapping[str, str]) -> str | None:
    return next((sentence for words, sentence in sentences.items() if _says(error, words)), None)
