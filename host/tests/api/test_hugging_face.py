"""Clients of Hugging Face's, pointed at this server."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Server
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError

TEXT = "A warm, funny film."


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    return f"{server.main.url}/predict"


@pytest.fixture(scope="module")
def client(url: str) -> InferenceClient:
    return InferenceClient(url)


def scores(server: Server, document: dict) -> list:
    answer = server.main.ask("POST", "/predict", json.dumps(document).encode())
    assert answer.status == 200, answer
    return json.loads(answer.body)


def test_a_text_is_classified(client: InferenceClient, server: Server) -> None:
    found = client.text_classification(TEXT)
    expected = scores(server, {"text": [TEXT]})["predictions"][0]
    assert len(expected) == 2
    assert [(each.label, each.score) for each in found] == [
        (each["label"], each["score"]) for each in expected
    ]


def test_the_address_alone_is_enough(client: InferenceClient, server: Server) -> None:
    found = InferenceClient(server.main.url).text_classification(TEXT)
    assert found == client.text_classification(TEXT)


def test_parameters_are_heeded(client: InferenceClient) -> None:
    everything = client.text_classification(TEXT, function_to_apply="softmax")
    assert sum(each.score for each in everything) == pytest.approx(1, abs=1e-5)
    best = client.text_classification(TEXT, top_k=1)
    assert [each.label for each in best] == [everything[0].label]


def test_what_can_not_be_had_is_said(client: InferenceClient) -> None:
    with pytest.raises(HfHubHTTPError) as raised:
        client.text_classification(TEXT, function_to_apply="none")
    assert raised.value.response.status_code == 422
    assert 'must be "softmax"' in str(raised.value)


def test_the_asynchronous_client_gets_the_same(
    url: str, client: InferenceClient
) -> None:
    found = asyncio.run(AsyncInferenceClient(url).text_classification(TEXT))
    assert found == client.text_classification(TEXT)


def test_older_python_clients_get_every_label(
    url: str, client: InferenceClient
) -> None:
    """Up to 0.26 they send one text without `parameters`, and read the first list."""
    script = (
        "import sys, json, huggingface_hub as hub; assert hub.__version__ == '0.26.5';"
        "found = hub.InferenceClient(sys.argv[1]).text_classification(sys.argv[2]);"
        "print(json.dumps([[each.label, each.score] for each in found]))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, url, TEXT],
        env=os.environ | {"PYTHONPATH": str(Path(sys.prefix) / "older")},
        stdout=subprocess.PIPE,
        check=True,
    )
    expected = [[each.label, each.score] for each in client.text_classification(TEXT)]
    assert json.loads(found.stdout) == expected


@pytest.mark.parametrize(
    "options", [{}, {"parameters": {}}, {"parameters": {"top_k": 1}}]
)
def test_the_javascript_client_gets_labels(
    url: str, client: InferenceClient, options: dict
) -> None:
    script = """
        import { InferenceClient } from "@huggingface/inference";
        const [endpointUrl, inputs, options] = process.argv.slice(2);
        const client = new InferenceClient();
        const request = { endpointUrl, inputs, ...JSON.parse(options) };
        console.log(JSON.stringify(await client.textClassification(request)));
    """
    module = Path(sys.prefix) / "client.mjs"
    module.write_text(script)
    found = subprocess.run(
        ["node", module, url, TEXT, json.dumps(options)],
        stdout=subprocess.PIPE,
        check=True,
    )
    expected = client.text_classification(TEXT, **options.get("parameters", {}))
    assert json.loads(found.stdout) == [
        {"label": each.label, "score": each.score} for each in expected
    ]


def test_info_is_true(server: Server) -> None:
    answer = server.main.ask("GET", "/info")
    info = json.loads(answer.body)
    assert info["model_id"] == "tiny-f32"
    labels = info["model_type"]["classifier"]
    assert labels["id2label"] == {"0": "negative", "1": "positive"}
    assert labels["label2id"] == {"negative": 0, "positive": 1}
    [answer] = scores(server, {"inputs": TEXT})
    found = {each["label"] for each in answer}
    assert found == set(labels["label2id"])
    assert info["max_input_length"] == 32
    version = json.loads(server.main.ask("GET", "/version").body)
    assert info["model_sha"] == version["model"]
    most = ["x"] * info["max_client_batch_size"]
    assert len(scores(server, {"inputs": most})) == len(most)
    answer = server.main.ask(
        "POST", "/predict", json.dumps({"inputs": [*most, ""]}).encode()
    )
    assert answer.status == 422
    # A text is cut where it says: what is behind that changes nothing, and only that.
    room = info["max_input_length"] - 2
    full, almost = ("a " * length for length in (room, room - 1))
    assert scores(server, {"inputs": full + "b", "truncate": True}) == scores(
        server, {"inputs": full}
    )
    assert scores(server, {"inputs": almost + "b"}) != scores(
        server, {"inputs": almost}
    )
    # Unless it must not be cut.
    whole = {"inputs": almost + "b", "truncate": False}
    assert scores(server, whole) == scores(server, {"inputs": almost + "b"})
    whole["inputs"] = full + "b"
    answer = server.main.ask("POST", "/predict", json.dumps(whole).encode())
    assert answer.status == 422
    problem = json.loads(answer.body)
    assert "the text has 33 tokens; at most 32 are allowed" in problem["error"]
    assert problem["error_type"] == "Validation"
