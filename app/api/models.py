"""``/v1/models``: what is served, in one form that OpenAI's and Anthropic's clients both read."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from app.api.headers import report_headers
from app.api.operation import Parameter, operation
from app.domain.auth import Caller, allows_model
from app.domain.calls import Report
from app.domain.models import Resolution
from app.gateway.services import Services
from app.translate.models_list import capabilities, model_object, models_list

#: Entries of a page; Anthropic's bounds. Without it all are listed: OpenAI's clients do not page.
Limit = Annotated[int | None, QueryParameter(ge=1, le=1000)]

_PAGING = (
    Parameter(
        name="limit",
        place="query",
        description="Entries of a page; all without it.",
        schema={"type": "integer", "minimum": 1, "maximum": 1000},
    ),
    Parameter(name="after_id", place="query", description="The page after this model.", schema={"type": "string"}),
    Parameter(name="before_id", place="query", description="The page before this model.", schema={"type": "string"}),
)
_NAME = (
    Parameter(
        name="vendor",
        place="path",
        description="As in `anthropic/claude-opus-5.5`.",
        schema={"type": "string"},
        required=True,
    ),
    Parameter(
        name="model",
        place="path",
        description="Any name that a chat request accepts as `model`.",
        schema={"type": "string"},
        required=True,
    ),
)


class ModelsController(Controller):
    """The model routes."""

    path = "/v1/models"

    @get(
        "/",
        operation_class=operation(
            "listModels",
            tag="models",
            summary="The models that are served",
            parameters=_PAGING,
            replies={200: ("The models, newest first.", "ModelList")},
            errors=(400,),
        ),
    )
    async def list_models(
        self,
        request: Request[None, None, State],
        services: NamedDependency[Services],
        limit: Limit = None,
        after_id: FromQuery[str | None] = None,
        before_id: FromQuery[str | None] = None,
    ) -> dict[str, Any]:
        """All models that the caller may use, or a page of them."""
        caller: Caller = request.scope["state"]["caller"]
        models = [
            facts for facts in services.models.all() if allows_model(caller.models, services.models.names_of(facts.id))
        ]
        return models_list(models, limit=limit, after_id=after_id, before_id=before_id)

    @get(
        ["/{model:str}", "/{vendor:str}/{model:str}"],
        operation_class=operation(
            "getModel",
            tag="models",
            summary="One model",
            description="Accepts aliases, short names and retired ids; answers the model that serves them.",
            parameters=_NAME,
            replies={200: ("The model.", "Model")},
            reply_headers=("adjusted",),
            errors=(404,),
        ),
    )
    async def get_model(
        self, services: NamedDependency[Services], model: FromPath[str], vendor: FromPath[str] = ""
    ) -> Response[dict[str, Any]]:
        """The model that a name means."""
        resolution = _resolve(services, vendor, model)
        return Response(model_object(resolution.facts), headers=_adjusted(resolution))

    @get(
        ["/{model:str}/capabilities", "/{vendor:str}/{model:str}/capabilities"],
        operation_class=operation(
            "getModelCapabilities",
            tag="models",
            summary="What one model accepts",
            description="The table that drives the translation of requests.",
            parameters=_NAME,
            replies={200: ("The capabilities.", "ModelCapabilities")},
            reply_headers=("adjusted",),
            errors=(404,),
        ),
    )
    async def get_capabilities(
        self, services: NamedDependency[Services], model: FromPath[str], vendor: FromPath[str] = ""
    ) -> Response[dict[str, Any]]:
        """What the model that a name means accepts."""
        resolution = _resolve(services, vendor, model)
        return Response(capabilities(resolution.facts), headers=_adjusted(resolution))


def _resolve(services: Services, vendor: str, model: str) -> Resolution:
    name = f"{vendor}/{model}" if vendor else model
    return services.models.resolve(name, services.translation.aliases)


def _adjusted(resolution: Resolution) -> dict[str, str]:
    """Says of a retired id which one serves it, as a chat completion would."""
    report = Report(adjusted=(("model", resolution.adjusted),) if resolution.adjusted is not None else ())
    return {name.decode(): value.decode() for name, value in report_headers(report)}
