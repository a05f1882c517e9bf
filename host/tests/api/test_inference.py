"""Clients of the Open Inference Protocol and of vLLM, pointed at this server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import numpy
import pytest
import requests
import tritonclient.http as triton
import tritonclient.http.aio
from conftest import Server
from tritonclient.utils import InferenceServerException

TEXTS = ["A warm, funny film.", "", "Überraschend schlecht 😀"]
MODELS = ["tiny-f32", "fastsentiment"]


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.main.port}") as client:
        yield client


def tensor(texts: list[str], binary: bool, column: bool) -> triton.InferInput:
    data = numpy.array([text.encode() for text in texts], dtype=object)
    shape = [len(texts), 1] if column else [len(texts)]
    given = triton.InferInput("text", shape, "BYTES")
    given.set_data_from_numpy(data.reshape(shape), binary_data=binary)
    return given


def outputs(binary: bool) -> list[triton.InferRequestedOutput]:
    names = ["scores", "labels"]
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def expected(server: Server, texts: list[str]) -> list[list[tuple[str, float]]]:
    body = json.dumps({"text": texts}).encode()
    answer = json.loads(server.main.ask("POST", "/predict", body).body)
    return [
        [(each["label"], each["score"]) for each in scores]
        for scores in answer["predictions"]
    ]


def found(result: triton.InferResult) -> list[list[tuple[str, float]]]:
    labels, scores = result.as_numpy("labels"), result.as_numpy("scores")
    assert labels.shape == scores.shape
    assert scores.dtype == numpy.float32

    def text(label: bytes | str) -> str:
        return label.decode() if isinstance(label, bytes) else label

    return [
        [(text(label), score) for label, score in zip(*row, strict=True)]
        for row in zip(labels, scores, strict=True)
    ]


def assert_same(
    result: triton.InferResult, scores: list[list[tuple[str, float]]]
) -> None:
    rows = [
        [(label, pytest.approx(score, abs=1e-6)) for label, score in row]
        for row in scores
    ]
    assert found(result) == rows


@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True])
@pytest.mark.parametrize("column", [False, True])
def test_texts_are_scored_in_every_form(
    client: triton.InferenceServerClient,
    server: Server,
    binary_in: bool,
    binary_out: bool,
    column: bool,
) -> None:
    result = client.infer(
        MODELS[0],
        [tensor(TEXTS, binary_in, column)],
        outputs=outputs(binary_out),
        request_id="7",
    )
    assert_same(result, expected(server, TEXTS))
    answer = result.get_response()
    assert (answer["id"], answer["model_name"]) == ("7", MODELS[0])
    assert [output["name"] for output in answer["outputs"]] == ["scores", "labels"]


@pytest.mark.parametrize("model", MODELS)
def test_every_name_and_version_answers(
    client: triton.InferenceServerClient, server: Server, model: str
) -> None:
    (version,) = client.get_model_metadata(model)["versions"]
    live = json.loads(server.main.ask("GET", "/version").body)["revision"]
    assert version == live[:12]
    for number in ["", version, live]:
        assert client.is_model_ready(model, number)
        # Without outputs, the client asks for all of them in binary.
        result = client.infer(model, [tensor(["x"], True, False)], number)
        assert_same(result, expected(server, ["x"]))
        assert result.get_response()["model_version"] == version


def test_the_server_and_its_model_are_described(
    client: triton.InferenceServerClient,
) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["name"] == "fastsentiment"
    model = client.get_model_metadata(MODELS[0])
    assert model["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert [output["name"] for output in model["outputs"]] == ["labels", "scores"]
    assert not client.is_model_ready("other")
    assert not client.is_model_ready(MODELS[0], "0" * 12)


def test_no_texts_and_a_compressed_request(
    client: triton.InferenceServerClient, server: Server
) -> None:
    empty = client.infer(MODELS[0], [tensor([], True, False)])
    assert empty.as_numpy("scores").shape == (0, 0)
    many = TEXTS * 100
    result = client.infer(
        MODELS[0],
        [tensor(many, True, True)],
        request_compression_algorithm="gzip",
        response_compression_algorithm="gzip",
    )
    assert_same(result, expected(server, many))


def test_the_asynchronous_client_gets_the_same(server: Server) -> None:
    async def ask() -> triton.InferResult:
        url = f"127.0.0.1:{server.main.port}"
        async with tritonclient.http.aio.InferenceServerClient(url) as client:
            return await client.infer(MODELS[1], [tensor(TEXTS, True, False)])

    assert_same(asyncio.run(ask()), expected(server, TEXTS))


def test_what_is_wrong_is_said(client: triton.InferenceServerClient) -> None:
    numbers = triton.InferInput("text", [1], "FP32")
    numbers.set_data_from_numpy(numpy.array([1.5], dtype=numpy.float32))
    named = triton.InferInput("TEXT", [1], "BYTES")
    named.set_data_from_numpy(numpy.array([b"x"], dtype=object))
    twice = [tensor(["x"], True, False)] * 2
    good = [tensor(["x"], True, False)]
    many = [tensor(["x"] * 1025, True, False)]
    unknown = [triton.InferRequestedOutput("logits")]
    classes = [triton.InferRequestedOutput("scores", class_count=1)]
    for model, inputs, wanted, status, message in [
        (MODELS[0], [numbers], None, "400", 'datatype` must be "BYTES"'),
        (MODELS[0], [named], None, "400", '`/inputs/0/name` must be "text"'),
        (MODELS[0], twice, None, "400", "must hold one tensor, found 2"),
        (MODELS[0], many, None, "400", "holds 1025 texts; at most 1024 are"),
        (MODELS[0], good, unknown, "400", 'must be "labels" or "scores"'),
        (MODELS[0], good, classes, "400", "classification` must be left out"),
        ("other", good, None, "404", "there is no model of this name"),
    ]:
        with pytest.raises(InferenceServerException) as raised:
            client.infer(model, inputs, outputs=wanted)
        assert raised.value.status() == status
        assert message in raised.value.message()


@pytest.mark.parametrize("path", ["/classify", "/v1/classify"])
def test_texts_are_classified(server: Server, path: str) -> None:
    url = server.main.url
    (model,) = requests.get(f"{url}/v1/models", timeout=60).json()["data"]
    request = {"model": model["id"], "input": TEXTS}
    answer = requests.post(url + path, json=request, timeout=60).json()
    assert (answer["object"], answer["model"]) == ("list", "tiny-f32")
    info = json.loads(server.main.ask("GET", "/info").body)
    order = info["model_type"]["classifier"]["label2id"]
    for index, scores in enumerate(expected(server, TEXTS)):
        each = answer["data"][index]
        assert (each["index"], each["label"]) == (index, scores[0][0])
        assert each["num_classes"] == len(order)
        probabilities = [each["probs"][order[label]] for label, _ in scores]
        assert probabilities == pytest.approx([score for _, score in scores], abs=1e-6)
    wrong = requests.post(url + path, json=request | {"model": "other"}, timeout=60)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (404, 404)
