"""``/openapi.json`` and ``/docs``: the document, and a page to read it and try it out, without any internet.

The page is Swagger UI, served from the files that the package ``swagger-ui-bundle`` brings along; nothing is loaded
from elsewhere, and the page's policy says so to the browser.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from litestar import MediaType, Request, Response, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from swagger_ui_bundle import swagger_ui_path

from app.api.openapi import build_document
from app.api.operation import Parameter, operation
from app.api.page_headers import file_headers, page_headers

#: Files of the page, and their media types. The other files of the package are not served.
ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}

_INITIALIZER = "initializer.js"

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Claude Wrapper: API documentation</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="docs"></div>
<noscript>This page needs JavaScript. The same for machines: <a href="/openapi.json">/openapi.json</a></noscript>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/initializer.js"></script>
</body>
</html>
"""

#: A file of its own, so that the policy can forbid scripts inside the page.
_INITIALIZE = """\
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: true,
  defaultModelsExpandDepth: 0,
});
"""

#: Swagger UI draws with style attributes; scripts are files of the page alone.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)


@get(
    "/docs",
    operation_class=operation(
        "getDocs",
        tag="operations",
        summary="This page",
        replies={200: ("Interactive documentation.", None)},
        media_type="text/html",
        protected=False,
    ),
)
async def docs() -> Response[str]:
    """The page."""
    return Response(_PAGE, media_type=MediaType.HTML, headers=page_headers(_POLICY))


@get(
    "/docs/{file:str}",
    operation_class=operation(
        "getDocsFile",
        tag="operations",
        summary="Files of the documentation page",
        parameters=(
            Parameter(
                name="file",
                place="path",
                description="Name of the file.",
                schema={"type": "string", "enum": [*ASSETS, _INITIALIZER]},
                required=True,
            ),
        ),
        replies={200: ("The file.", None)},
        errors=(404,),
        media_type="*/*",
        protected=False,
    ),
)
async def docs_file(file: FromPath[str]) -> Response[bytes]:
    """A script, a style sheet or a picture of the page."""
    if file == _INITIALIZER:
        return Response(_INITIALIZE.encode(), media_type="text/javascript", headers=file_headers())
    if file not in ASSETS:
        raise NotFoundException
    content = await asyncio.to_thread((Path(swagger_ui_path) / file).read_bytes)
    return Response(content, media_type=ASSETS[file], headers=file_headers())


@get(
    ["/openapi.json", "/swagger.json"],
    operation_class=operation(
        "getOpenApi",
        tag="operations",
        summary="The OpenAPI document",
        description="`/swagger.json` is the same.",
        replies={200: ("OpenAPI 3.0.", None)},
        protected=False,
    ),
)
async def openapi_json(request: Request[None, None, State]) -> Response[bytes]:
    """The document of this gateway; made when it is first asked for, which takes some 50 ms, so beside the loop."""
    state = request.app.state
    if "openapi_document" not in state:
        protected = state.services.config.is_protected
        state.openapi_document = await asyncio.to_thread(build_document, request.app, protected=protected)
    return Response(state.openapi_document, media_type=MediaType.JSON)
