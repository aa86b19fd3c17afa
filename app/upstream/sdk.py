"""The ``sdk`` lane: requests as the ``anthropic`` package puts them together, by its raw route, bytes in and bytes out.

The package brings authentication, headers, URLs and, later, the clouds; its models are never touched. It is imported
with this module, which takes a second and 45 MB, so only what opens this lane imports this module. Facts about the
package: ``spec/sdk-notes.md``.
"""

from __future__ import annotations

from app.upstream.connections import Connections
from app.upstream.lane import Lane
from app.upstream.route import Route
from app.upstream.sdk_client import SdkClient
from app.upstream.sdk_transport import SdkTransport
from app.upstream.settings import LaneSettings


class SdkUpstream(Lane):
    """An ``Upstream`` by the ``anthropic`` package.

    The package looks nothing up by itself: credentials, base URL, proxy and certificates come from the settings.

    Args:
        settings: of any lane.

    Raises:
        SettingError: a setting makes no sense; names the variable.
    """

    def __init__(self, settings: LaneSettings) -> None:
        super().__init__(settings, _client)


def _client(route: Route, connections: Connections) -> SdkClient:
    return SdkClient(route.url, route.key, route.token, SdkTransport(connections))
