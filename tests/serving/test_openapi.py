"""The description of the interface: whole, valid, and what the service does."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

if TYPE_CHECKING:
    from tests.running import Running

Description = dict[str, Any]
OPEN = {"/v1/health/live", "/v1/health/ready"}
CHECKED: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
METHODS = ("get", "put", "post", "patch", "delete")


@pytest.fixture(scope="module")
def described(served: "Running") -> Description:
    """The description, as anybody may read it."""
    answer = httpx.get(f"{served.url}/openapi.json")
    assert answer.status_code == 200
    told: Description = answer.json()
    return told


@pytest.fixture(scope="module")
def shop(served: "Running") -> Iterator[httpx.Client]:
    with served.client("admin") as client:
        yield client


def operations(described: Description) -> Iterator[tuple[str, str, Description]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert method in METHODS
            yield method, path, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def found(described: Description, reference: str) -> Any:
    value: Any = described
    for step in reference.removeprefix("#/").split("/"):
        value = value[step]
    return value


def validator(described: Description, schema: Description) -> Any:
    """Of a schema, with the parts of the description that it may refer to."""
    return jsonschema_rs.validator_for({**schema, "components": described["components"]})


def test_every_reference_leads_somewhere(described: Description) -> None:
    wanted = set(references(described))
    assert len(wanted) > 20
    for reference in wanted:
        assert found(described, reference)["type"]


def test_every_schema_is_one(described: Description) -> None:
    for name, schema in described["components"]["schemas"].items():
        jsonschema_rs.meta.validate(schema)
        assert schema.get("description"), name


def test_every_operation_is_told_whole(described: Description) -> None:
    names = set()
    for method, path, operation in operations(described):
        where = f"{method} {path}"
        assert operation["description"], where
        assert operation["tags"], where
        names.add(operation["operationId"])
        assert operation["security"] == ([] if path in OPEN else [{"key": []}]), where
        for parameter in operation.get("parameters", []):
            assert parameter["in"] == "path", where
            assert f"{{{parameter['name']}}}" in path
        for status, answer in operation["responses"].items():
            kinds = set(answer.get("content", {}))
            if int(status) >= 400 and path not in OPEN:
                assert kinds == {"application/problem+json"}, where
            elif method == "delete" and status == "204":
                assert not kinds, where
            else:
                assert len(kinds) == 1, where
        if path not in OPEN:
            refusals = {"400", "401", "403", "404", "413", "422", "429", "503"}
            assert refusals <= set(operation["responses"]), where
    assert len(names) == sum(1 for _ in operations(described))
    scheme = described["components"]["securitySchemes"]["key"]
    assert scheme == {"type": "apiKey", "in": "header", "name": "X-API-Key"}


def bodies(described: Description) -> Iterator[tuple[str, str, Description]]:
    for method, path, operation in operations(described):
        if "requestBody" in operation:
            (content,) = operation["requestBody"]["content"].values()
            yield method, path, found(described, content["schema"]["$ref"])


def test_examples_of_bodies_are_there_and_valid(described: Description, shop: httpx.Client) -> None:
    for method, path, schema in bodies(described):
        examples = schema.get("examples", [])
        assert examples, f"{method} {path} has no example"
        for example in examples:
            validator(described, schema).validate(example)
            answer = shop.request(method, path.replace("{item_id}", "P000001"), json=example)
            # The things they name are not in this shop; nothing else is wrong with them.
            assert answer.status_code in (200, 202, 404, 422), answer.text
            assert "errors" not in answer.json() or not answer.json()["errors"], answer.text


def test_every_route_is_described(described: Description) -> None:
    told = {f"{method.upper()} {path}" for method, path, _ in operations(described)}
    assert told == {
        "POST /v1/recommend",
        "POST /v1/similar",
        "POST /v1/rerank",
        "POST /v1/search",
        "POST /v1/explain",
        "POST /v1/events",
        "PUT /v1/items",
        "GET /v1/items/{item_id}",
        "PATCH /v1/items/{item_id}",
        "DELETE /v1/items/{item_id}",
        "PUT /v1/users",
        "GET /v1/users/{user_id}",
        "DELETE /v1/users/{user_id}",
        "GET /v1/users/{user_id}/profile",
        "GET /v1/models",
        "GET /v1/reports/exposure",
        "PUT /v1/models/current",
        "GET /v1/health/live",
        "GET /v1/health/ready",
        "GET /metrics",
    }


def run_all(running: "Running", described: Description, *, examples: int) -> int:
    """Ask every operation with what its description allows, and with what it does not."""
    schema = schemathesis.openapi.from_dict(described, config=SchemathesisConfig())
    schema.config.update(base_url=running.url)
    headers = {"X-API-Key": running.keys[running.folders[0]]["admin"]}
    asked = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        cases = [
            operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode
        ]

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.one_of(cases))
        def ask(case: "schemathesis.Case[Any]") -> None:
            nonlocal asked
            asked += 1
            case.call_and_validate(headers=headers, checks=CHECKED)

        ask()
    return asked


def test_the_service_does_what_it_says(served: "Running", described: Description) -> None:
    assert run_all(served, described, examples=10) > 19 * 5


@pytest.mark.slow
def test_the_service_does_what_it_says_at_length(served: "Running", described: Description) -> None:
    assert run_all(served, described, examples=300) > 19 * 100
