"""Holds documents to the JSON Schema: prints the path of each that does not fit, and why."""

import json
import pathlib
import sys
import tomllib

import jsonschema

schema = json.loads(pathlib.Path(sys.argv[1]).read_text())
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for path in sys.argv[2:]:
    document = tomllib.loads(pathlib.Path(path).read_text())
    error = jsonschema.exceptions.best_match(validator.iter_errors(document))
    if error:
        print(path, error.json_path, error.message.replace("\n", " ")[:200], sep="\t")
