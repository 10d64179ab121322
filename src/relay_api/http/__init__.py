"""HTTP in general: limits, headers, problems, ranges, the OpenAPI document."""
