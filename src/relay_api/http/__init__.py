"""HTTP code that is not about one resource: limits, headers, errors (problem+json), ranges, the OpenAPI document."""
