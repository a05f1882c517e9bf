"""The documents: valid, true, and about every path and method that there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
from conftest import Listener, Server
from openapi_spec_validator import OpenAPIV31SpecValidator

METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"]


def test_a_document_is_valid_openapi(listener: Listener) -> None:
    document = listener.document()
    assert document["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(document).validate()
    operations = [operation for *_, operation in operations_of(document)]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names)), names
    assert all(operation["summary"] for operation in operations)
    known = {tag["name"] for tag in document["tags"]}
    assert all(set(operation["tags"]) <= known for operation in operations)


def operations_of(document: dict[str, Any]) -> Iterator[tuple[str, str, dict]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method.upper(), operation


def real_path(path: str, item: dict[str, Any]) -> str:
    """A path as it can be asked for: with the first of the values that it may have."""
    for parameter in next(iter(item.values())).get("parameters", []):
        if parameter["in"] == "path":
            # No version begins so: what asks for one is 404, and no 405.
            value = parameter["schema"].get("enum", ["0" * 64])[0]
            path = path.replace(f"{{{parameter['name']}}}", value)
    return path


def test_every_method_of_a_path_is_documented_and_no_other_is_taken(
    listener: Listener,
) -> None:
    for path, item in listener.document()["paths"].items():
        documented = sorted(method.upper() for method in item)
        real = real_path(path, item)
        for method in METHODS:
            if method in documented and method in {"DELETE", "POST"}:
                continue  # It would do what it says.
            answer = listener.ask(method, real)
            assert (answer.status != 405) == (method in documented), (method, path)
            if method not in documented:
                assert answer.headers["allow"] == ", ".join(documented)
        answer = listener.ask("OPTIONS", real)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["allow"] == ", ".join(documented)


def test_every_path_that_is_advised_is_documented(listener: Listener) -> None:
    advice = json.loads(listener.ask("GET", "/nothing").body)
    assert advice["type"] == "urn:fastsentiment:problem:not-found"
    paths = listener.document()["paths"]
    named = [word.strip("`,.") for word in advice["detail"].split() if "/" in word]
    assert named
    assert not set(named) - set(paths), named


def test_head_is_get_without_the_content(listener: Listener) -> None:
    for path, item in listener.document()["paths"].items():
        if "head" in item:
            real = real_path(path, item)
            get, head = (listener.ask(method, real) for method in ("GET", "HEAD"))
            assert (head.status, head.body) == (get.status, b""), path
            named = {"content-type", "content-length", "cache-control"}
            for name in named if path != "/metrics" else {"content-type"}:
                assert head.headers[name] == get.headers[name], path


def test_every_example_is_of_its_schema(listener: Listener) -> None:
    document = listener.document()
    seen = 0
    for schema, example in examples_in(document):
        seen += 1
        # As a whole document, so that its references lead somewhere.
        whole = {"components": document["components"], **schema}
        jsonschema.Draft202012Validator(whole).validate(example)
    assert seen > 10


def examples_in(node: Any) -> Iterator[tuple[dict, Any]]:
    """All examples beside a schema, wherever they are."""
    if isinstance(node, dict):
        schema = node.get("schema")
        if isinstance(schema, dict):
            if "example" in node:
                yield schema, node["example"]
            for example in (node.get("examples") or {}).values():
                yield schema, example["value"]
            for example in schema.get("examples", []):
                yield schema, example
        for inner in node.values():
            yield from examples_in(inner)
    if isinstance(node, list):
        for inner in node:
            yield from examples_in(inner)


def test_the_examples_of_predict_are_true(server: Server) -> None:
    main = server.main
    operation = main.document()["paths"]["/predict"]["post"]
    shown = operation["responses"]["200"]
    requests = operation["requestBody"]["content"]["application/json"]["examples"]
    answers = shown["content"]["application/json"]["examples"]
    assert (
        list(requests)
        == list(answers)
        == ["default", "inputs", "inputs-one", "parameters"]
    )
    for form, sent in requests.items():
        answer = main.ask("POST", "/predict", json.dumps(sent["value"]).encode())
        assert answer.status == 200, answer
        for name in (
            "x-fastsentiment-guest",
            "x-fastsentiment-model",
            "x-fastsentiment-revision",
        ):
            examples = shown["headers"][name]["schema"]["examples"]
            assert examples == [answer.headers[name]]
        assert shape(json.loads(answer.body)) == shape(answers[form]["value"]), form
    version = main.document()["paths"]["/version"]["get"]["responses"]["200"]
    live = json.loads(main.ask("GET", "/version").body)
    assert version["content"]["application/json"]["example"] == live


def shape(answer: Any) -> Any:
    """An answer without its labels and scores, which are those of another model."""
    if isinstance(answer, list):
        return [shape(element) for element in answer]
    if set(answer) == {"label", "score"}:
        return "score"
    return {key: shape(value) for key, value in answer.items()}


def test_lines_are_as_they_are_documented(server: Server) -> None:
    main = server.main
    document = main.document()
    operation = document["paths"]["/predict"]["post"]
    kind = "application/x-ndjson"
    sent = operation["requestBody"]["content"][kind]
    shown = operation["responses"]["200"]["content"][kind]
    asked = sent["example"] + '{"text": 5}\n"' + "x" * 200_000 + '"\nnonsense\n'
    answer = main.ask("POST", "/predict", asked.encode(), {"Content-Type": kind})
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    lines = [json.loads(line) for line in answer.body.splitlines()]
    examples = [json.loads(line) for line in shown["example"].splitlines()]
    assert [shape(line) for line in lines[:2]] == [shape(line) for line in examples]
    assert [line["error"]["line"] for line in lines[2:]] == [3, 4, 5]
    of_answers = line_validator(document, shown)
    for line in lines + examples:
        of_answers.validate(line)
    of_requests = line_validator(document, sent)
    for line in asked.splitlines():
        good = line not in {"nonsense", '{"text": 5}'} and len(line) < 200_000
        assert line == "nonsense" or of_requests.is_valid(json.loads(line)) == good


def line_validator(
    document: dict[str, Any], content: dict[str, Any]
) -> jsonschema.Draft202012Validator:
    schema = content["schema"]
    assert (schema["type"], schema["contentMediaType"]) == (
        "string",
        "application/x-ndjson",
    )
    whole = {"components": document["components"], **schema["contentSchema"]}
    return jsonschema.Draft202012Validator(whole)


def test_the_problems_of_predict_are_those_that_there_are(server: Server) -> None:
    main = server.main
    document = main.document()
    responses = document["paths"]["/predict"]["post"]["responses"]
    text = document["components"]["schemas"]["PredictRequest"]["properties"]["text"]
    too_many = {"text": [""] * (text["maxItems"] + 1)}
    too_long = {"text": ["", "", "", "x" * (text["items"]["maxLength"] + 1)]}
    cases: list[tuple[str, bytes, dict[str, str]]] = [
        ("invalid-json", b'{"text": ["I love it"', {}),
        ("invalid-body", b'{"text": ["I love it", 1]}', {}),
        ("invalid-body-2", b'{"inputs": "I love it", "raw_scores": true}', {}),
        ("invalid-header", b"{}", {"x-fastsentiment-timeout-ms": "soon"}),
        ("unsupported-media-type", b"x", {"Content-Type": "text/plain"}),
        ("too-many-texts", json.dumps(too_many).encode(), {}),
        ("text-too-long", json.dumps(too_long).encode(), {}),
        ("body-too-large", b" " * (8 * 1024 * 1024 + 1), {}),
    ]
    for name, body, headers in cases:
        answer = main.ask("POST", "/predict", body, headers)
        content = responses[str(answer.status)]["content"]["application/problem+json"]
        problem = json.loads(answer.body)
        assert problem.pop("request_id") == answer.headers["x-request-id"]
        assert content["examples"][name]["value"] == problem
