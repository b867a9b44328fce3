"""Debian's boto3, driven by clients_test.go: a call as a line of JSON in, its outcome as a line of JSON out.

The argument is the endpoint. A call has service, operation, params and region. In params, {"$blob": base64} is binary, and
{"$stream": path} a file that is sent.
"""

import base64
import json
import sys

import boto3
import botocore.config
import botocore.exceptions
from botocore import xform_name


def plain(value):
    """Returns params without marks."""
    if isinstance(value, list):
        return [plain(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "$blob" in value:
        return base64.b64decode(value["$blob"])
    if "$stream" in value:
        with open(value["$stream"], "rb") as f:
            return f.read()
    return {k: plain(v) for k, v in value.items()}


def answer(url, call):
    config = botocore.config.Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, read_timeout=300)
    client = boto3.client(call["service"], endpoint_url=url, region_name=call["region"], config=config)
    try:
        out = getattr(client, xform_name(call["operation"]))(**plain(call["params"]))
    except botocore.exceptions.ClientError as e:
        return {"code": e.response["Error"]["Code"]}
    for value in out.values():
        if hasattr(value, "read"):
            value.read()
    return {"output": out}


def main():
    for line in sys.stdin:
        try:
            result = answer(sys.argv[1], json.loads(line))
        except Exception as e:  # what the client refuses itself fails the test, with its words
            result = {"failure": repr(e)}
        print(json.dumps(result, default=str), flush=True)


main()
