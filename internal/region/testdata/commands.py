"""Debian's AWS CLI, driven by clients_test.go as clients.py is.

Each call becomes a command line, which goes through the CLI's own main in a process that is forked off one that has all modules and
models: a command leaves traces in its process, and starting the CLI for each would take a second of computing.
"""

import base64
import contextlib
import io
import json
import os
import re
import sys
import tempfile

import awscli.clidriver
from botocore import xform_name

TO_FILE = ("GetSnapshotBlock", "GetObject")  # which take the name of a file for what they get
REFUSED = re.compile(r"An error occurred \(([^)]+)\) when calling")


def command(url, call, folder):
    """Returns the command line of a call."""
    service = {"s3": "s3api"}.get(call["service"], call["service"])
    args = ["--endpoint-url", url, "--region", call["region"], "--output", "json", service, xform_name(call["operation"], "-")]
    rest = {}
    for name, value in call["params"].items():
        option = "--" + xform_name(name, "-")
        if isinstance(value, dict) and "$stream" in value:
            args += [option, value["$stream"]]
        elif isinstance(value, dict) and "$blob" in value:
            with open(folder + "/blob", "wb") as f:
                f.write(base64.b64decode(value["$blob"]))
            args += [option, "fileb://" + f.name]
        elif call["operation"] in TO_FILE:
            args += [option, str(value)]
        else:
            rest[name] = value
    if call["operation"] in TO_FILE:
        return args + [folder + "/out"]
    return args + ["--cli-input-json", json.dumps(rest)]


def answer(driver, args):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = driver.main(args)
        except SystemExit as e:
            code = e.code
    if code == 0:
        return {"output": json.loads(out.getvalue() or "{}")}
    refused = REFUSED.search(err.getvalue())
    if refused:
        return {"code": refused.group(1)}
    return {"failure": "%s: %s" % (" ".join(args), err.getvalue())}


def forked(driver, args):
    """Returns the answer of a process of its own."""
    read, write = os.pipe()
    if os.fork() == 0:
        with os.fdopen(write, "w") as f:
            json.dump(answer(driver, args), f)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as f:
        text = f.read()
    os.wait()
    return text


def main():
    driver = awscli.clidriver.create_clidriver()
    for service in ("ec2", "ebs", "s3", "sts", "ssm", "service-quotas"):
        driver.session.get_service_model(service)
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            print(forked(driver, command(sys.argv[1], json.loads(line), folder)), flush=True)


main()
