"""JWT bearers: which are let in, and as whom.

PyJWT checks signature, issuer and audience; before it, the token's header is held to what an honest issuer writes, and
after it the times are checked on our own clock (``app/domain/claims.py``). A message says what is wrong with a token
and quotes nothing of it. Source: RFC 7519; RFC 8725 (current practice); PyJWT 2.15.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

import jwt

from app.domain.auth import Caller
from app.domain.claims import Claims, caller_of, check_times
from app.errors import Unauthenticated
from app.identity.jwks import Jwks
from app.identity.settings import JwtSettings
from app.identity.signing_keys import Algorithm, SigningKey

MAX_TOKEN_BYTES: Final = 8192

#: A verified token is believed this long without looking again, so that a key taken from the JWKS soon means nothing.
REMEMBERED_S: Final = 60.0

MAX_REMEMBERED: Final = 10_000

#: Header fields by which a token would bring its own key along (RFC 8725 section 3.10), or ask for rules of its own.
_REFUSED_FIELDS: Final = ("jku", "x5u", "jwk", "x5c", "crit")

_OPTIONS: Final[Any] = {
    "require": ["exp", "sub"],
    "enforce_minimum_key_length": True,
    # The times are checked by our own clock.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}


class JwtVerifier:
    """An ``app.domain.claims.TokenVerifier`` of JWTs.

    Args:
        settings: keys and rules.
        jwks: the issuer's keys, where the settings name a URL.
        now: Unix seconds.
    """

    def __init__(self, settings: JwtSettings, jwks: Jwks | None, *, now: Callable[[], float]) -> None:
        self._settings = settings
        self._jwks = jwks
        self._now = now
        self._jwt = jwt.PyJWT(_OPTIONS)
        self._remembered: dict[bytes, tuple[float, Caller]] = {}

    def known(self, token: bytes) -> Caller | None:
        """The bearer of a token that was verified within the last minute; costs a microsecond or two."""
        remembered = self._remembered.get(sha256(token).digest())
        if remembered is None or remembered[0] <= self._now():
            return None
        return remembered[1]

    async def verify(self, token: bytes) -> Caller:
        """The bearer of a token.

        Raises:
            Unauthenticated: the token is not accepted; the message says why.
            IdentityUnavailable: the keys of its issuer cannot be fetched, and the one of this token is not known.
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise Unauthenticated(f"The token is larger than {MAX_TOKEN_BYTES} bytes.")
        algorithm, kid = self._header(token)
        claims = self._claims(token, await self._key(algorithm, kid))
        now = self._now()
        expires_at = check_times(claims, now=now, leeway_s=self._settings.leeway_s)
        caller = caller_of(claims, self._settings.claims)
        self._remember(token, caller, min(expires_at, now + REMEMBERED_S))
        return caller

    async def close(self) -> None:
        """Ends what runs in the background."""
        if self._jwks is not None:
            await self._jwks.close()

    def _header(self, token: bytes) -> tuple[Algorithm, str | None]:
        """``alg`` and ``kid`` of a token that nothing is believed of yet."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise Unauthenticated("The token is no signed JWT.") from None
        for field in _REFUSED_FIELDS:
            if field in header:
                raise Unauthenticated(f"The token's header has the field {field}, which is not accepted.")
        for algorithm in self._settings.algorithms:
            if header.get("alg") == algorithm:
                return algorithm, header.get("kid")
        accepted = ", ".join(sorted(self._settings.algorithms))
        raise Unauthenticated(f"The token is not signed with an accepted algorithm ({accepted}).")

    async def _key(self, algorithm: Algorithm, kid: str | None) -> SigningKey:
        """The key that checks a token; one that is configured itself has no name, so ``kid`` says nothing of it."""
        if self._jwks is not None and algorithm not in self._settings.keys:
            return await self._jwks.key(algorithm, kid)
        return self._settings.keys[algorithm]

    def _claims(self, token: bytes, key: SigningKey) -> Claims:
        try:
            return self._jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                issuer=self._settings.issuer,
                audience=self._settings.audience,
            )
        except jwt.PyJWTError as exc:
            raise Unauthenticated(_refusal(exc)) from None

    def _remember(self, token: bytes, caller: Caller, until: float) -> None:
        key = sha256(token).digest()
        self._remembered.pop(key, None)  # to the end of the queue
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[key] = until, caller


def _refusal(exc: jwt.PyJWTError) -> str:
    """What PyJWT found, most specific first."""
    match exc:
        case jwt.InvalidSignatureError():
            return "The token's signature does not fit its issuer's key."
        case jwt.MissingRequiredClaimError():
            return f"The token lacks the claim {exc.claim}."
        case jwt.InvalidIssuerError():
            return "The token is of another issuer (iss) than this gateway accepts."
        case jwt.InvalidAudienceError():
            return "The token is for another audience (aud) than this gateway."
        case _:
            return "The token is no valid JWT."
