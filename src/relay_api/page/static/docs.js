// Shows the OpenAPI document of this server. Requests are not sent from the page, which shares its origin with the
// page at `/` and its cookie.

// Returns a copy of a part of the document with the schemas in the places that refer to them. A reference to a schema
// within itself stays a reference.
function withSchemas(part, whole, open) {
  if (Array.isArray(part)) {
    return part.map((each) => withSchemas(each, whole, open));
  }
  if (part === null || typeof part !== "object") {
    return part;
  }
  const { $ref: address, ...rest } = part;
  if (typeof address !== "string") {
    return Object.fromEntries(Object.entries(part).map(([name, each]) => [name, withSchemas(each, whole, open)]));
  }
  if (!address.startsWith("#/") || open.includes(address)) {
    return part;
  }
  const meant = address.slice(2).split("/").reduce((found, name) => found?.[name], whole);
  return meant === undefined ? part : { ...withSchemas(meant, whole, [...open, address]), ...rest };
}

// The viewer's own ways cost seconds: it reads the whole document again for each operation that is opened, and reads
// JSON as if it were YAML.
const quick = () => ({
  statePlugins: {
    spec: { wrapActions: { parseToJson: (_, { specActions }) => (text) => specActions.updateJsonSpec(JSON.parse(text)) } },
  },
  afterLoad() {
    this.fn.resolveSubtree = async (whole, path) => {
      const part = path.reduce((found, name) => found?.[name], whole);
      return { spec: withSchemas(part, whole, []), errors: [] };
    };
  },
});

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "list",
  defaultModelExpandDepth: 3,
  defaultModelsExpandDepth: -1,
  supportedSubmitMethods: [],
  validatorUrl: null,
  plugins: [quick],
});
