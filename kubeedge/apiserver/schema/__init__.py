"""The types of the Kubernetes API: fields, formats, enums, list and merge keys, in `types.json` made by `generate`.

`types` reads that file type by type on demand; `reader` checks a JSON value against a type and brings it into the form
in which a real API server would store it.
"""
