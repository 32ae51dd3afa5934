import { actionNeeds, BESIDE, directionNeeds, when, without } from "./policy-schema-needs.ts";
import { VALUE_PATTERNS } from "./policy-value-patterns.ts";

type Schema = Readonly<Record<string, unknown>>;

const text = (description: string, more: Schema = {}): Schema => ({
  type: "string",
  minLength: 1,
  description,
  ...more,
});
const texts = (description: string, items: Schema = { type: "string", minLength: 1 }): Schema => ({
  type: "array",
  minItems: 1,
  items,
  description,
});
const object = (description: string, properties: Schema, more: Schema = {}): Schema => ({
  type: "object",
  additionalProperties: false,
  description,
  properties,
  ...more,
});

/** Each field and its `not…` twin. */
function withNegated(fields: Readonly<Record<string, Schema>>): Schema {
  return Object.fromEntries(
    Object.entries(fields).flatMap(([name, schema]) => [
      [name, schema],
      [
        `not${name.charAt(0).toUpperCase()}${name.slice(1)}`,
        { ...schema, description: `None of these. ${String(schema["description"])}` },
      ],
    ]),
  );
}

const star = "Exact, p*, *s, or *.";
const valued = (pattern: keyof typeof VALUE_PATTERNS): Schema => ({
  type: "string",
  minLength: 1,
  pattern: VALUE_PATTERNS[pattern],
});

const sourceFields = (ours: boolean, requestPrincipals: Schema): Schema =>
  withNegated({
    principals: texts(`The caller's SPIFFE ID without spiffe://. ${star}`, valued(ours ? "ourPrincipal" : "principal")),
    namespaces: texts("The namespace in the caller's SPIFFE ID. Stars anywhere."),
    serviceAccounts: {
      ...texts("<namespace>/<account>, or <account>. Not beside principals or namespaces.", valued("serviceAccount")),
      maxItems: 16,
    },
    trustDomains: texts("The caller's trust domain. One star at an end.", valued("trustDomain")),
    requestPrincipals: texts(`Issuer and subject of the verified token, as <iss>/<sub>. ${star}`, requestPrincipals),
    ipBlocks: texts("The TCP peer: address or CIDR.", valued("address")),
    remoteIpBlocks: texts("The client behind trusted proxies: address or CIDR.", valued("address")),
  });

const operationFields: Readonly<Record<string, Schema>> = {
  hosts: texts(`Host or :authority, any case. ${star}`, valued("starred")),
  methods: texts(`The method, upper case. ${star}`, valued("starred")),
  paths: texts(
    `The normalised path without query. ${star} Or a template: {*} is one segment, {**} the rest.`,
    valued("path"),
  ),
  ports: texts("The app's port, as text.", valued("port")),
};

const condition = object(
  "One more condition.",
  {
    key: text("What is compared.", {
      anyOf: [
        {
          enum: [
            "source.ip",
            "remote.ip",
            "source.namespace",
            "source.principal",
            "source.serviceAccount",
            "source.trustDomain",
            "request.auth.principal",
            "request.auth.audiences",
            "request.auth.presenter",
            "destination.ip",
            "destination.port",
            "destination.principal",
            "connection.sni",
          ],
        },
        { pattern: "^request\\.headers\\[[^\\]]+\\]$" },
        { pattern: "^request\\.auth\\.claims(?:\\[[^\\[\\]]+\\])+$" },
      ],
    }),
    values: texts(`One of these. ${star}`),
    notValues: texts(`None of these. ${star}`),
  },
  { required: ["key"], anyOf: [{ required: ["values"] }, { required: ["notValues"] }] },
);

const selector = object("The workloads that it is for. Absent: all of the namespace.", {
  matchLabels: { type: "object", additionalProperties: { type: "string" }, description: "All of these labels." },
});

const METADATA: Schema = {
  type: "object",
  description: "Name and namespace.",
  required: ["name", "namespace"],
  properties: {
    name: text("A name that Kubernetes takes.", { maxLength: 253, pattern: "^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$" }),
    namespace: text("Whose workloads it is for; the root namespace: for all.", {
      maxLength: 63,
      pattern: "^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$",
    }),
    annotations: {
      type: "object",
      description: "Only istio.io/dry-run means something here.",
      properties: {
        "istio.io/dry-run": {
          enum: ["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"],
          description: "true: not enforced, but recorded.",
        },
      },
    },
  },
};

function policySpec(ours: boolean): Schema {
  const requestPrincipal = ours
    ? {
        anyOf: [
          { type: "string", minLength: 1 },
          object(
            "Both parts, where a subject has slashes.",
            { issuer: text("iss"), subject: text("sub") },
            {
              required: ["issuer", "subject"],
            },
          ),
        ],
      }
    : { type: "string", minLength: 1 };
  const operation = ours
    ? {
        principals: texts(
          "OUTBOUND: the SPIFFE ID, without spiffe://, that the server proves.",
          valued("ourPrincipal"),
        ),
        ...operationFields,
      }
    : operationFields;
  const source = object("All of its fields must match.", sourceFields(ours, requestPrincipal), {
    minProperties: 1,
    ...when({ anyOf: [{ required: ["serviceAccounts"] }, { required: ["notServiceAccounts"] }] }, without(BESIDE)),
  });
  const rule = object("All of its parts must match; {} matches everything.", {
    from: texts("One of these must match.", object("", { source }, { required: ["source"] })),
    to: texts(
      "One of these must match.",
      object(
        "",
        { operation: object("All of its fields must match.", withNegated(operation), { minProperties: 1 }) },
        {
          required: ["operation"],
        },
      ),
    ),
    when: texts("All of these must match.", condition),
    ...(ours ? { conditions: text("A CEL expression that must be true as well.") } : {}),
  });
  return object(
    "Who may, or may not, do what.",
    {
      selector,
      action: {
        enum: ["ALLOW", "DENY", "AUDIT", "CUSTOM"],
        default: "ALLOW",
        description: "What a rule that matches does.",
      },
      provider: object(
        "Who is asked (CUSTOM).",
        { name: text("A name of extensionProviders.") },
        { required: ["name"] },
      ),
      ...(ours
        ? {
            direction: {
              enum: ["INBOUND", "OUTBOUND"],
              default: "INBOUND",
              description: "Calls to this workload, or those that it makes.",
            },
          }
        : {}),
      rules: { type: "array", maxItems: 512, items: rule, description: "One of them is enough." },
    },
    { allOf: [...actionNeeds(ours), ...(ours ? directionNeeds : [])] },
  );
}

const mtls = object("Which connections are taken.", {
  mode: { enum: ["UNSET", "DISABLE", "PERMISSIVE", "STRICT"], description: "UNSET inherits." },
});

const peerSpec = object(
  "Which connections are taken.",
  {
    selector,
    mtls,
    portLevelMtls: {
      type: "object",
      description: "By the app's port; needs a selector.",
      propertyNames: { pattern: VALUE_PATTERNS.port },
      additionalProperties: mtls,
    },
  },
  { dependencies: { portLevelMtls: ["selector"] } },
);

const jwtRule = object(
  "One issuer of tokens.",
  {
    issuer: text("iss of its tokens."),
    audiences: texts("aud: one of these. Required in strict mode."),
    jwksUri: text("https URL of its keys."),
    jwks_uri: text("The same."),
    jwks: text("Its keys: a JWK set as JSON text."),
    fromHeaders: texts(
      "Headers that carry a token. Default: Authorization: Bearer.",
      object(
        "",
        { name: text("The header."), prefix: { type: "string", description: "Before the token." } },
        {
          required: ["name"],
        },
      ),
    ),
    fromParams: texts("Query parameters that carry a token."),
    fromCookies: texts("Cookies that carry a token."),
    outputPayloadToHeader: text("Header in which the app gets the claims set."),
    outputClaimToHeaders: texts(
      "Claims that the app gets as headers.",
      object("", { header: text("The header."), claim: text("The claim.") }, { required: ["header", "claim"] }),
    ),
    spaceDelimitedClaims: texts("Claims that are lists parted by spaces, besides scope and permission."),
    forwardOriginalToken: { type: "boolean", default: false, description: "Whether the app gets the token." },
    timeout: text("Of fetching keys, like 5s."),
  },
  { required: ["issuer"] },
);

const requestSpec = object("Which tokens are good.", {
  selector,
  jwtRules: { type: "array", items: jwtRule, description: "A token must satisfy one." },
});

const ISTIO = ["security.istio.io/v1", "security.istio.io/v1beta1"];
const OURS = ["countersign.dev/v1"];

/** One policy document as JSON Schema (draft-07, which editors' YAML support reads). Help while writing, not the judge: `policy lint` knows what
 *  values mean, and takes a few forms that Kubernetes adds and this does not name. */
export function policyJsonSchema(): Schema {
  const document = (apiVersions: readonly string[], kind: string, spec: Schema): Schema => ({
    type: "object",
    required: ["apiVersion", "kind", "metadata"],
    additionalProperties: false,
    properties: {
      apiVersion: { enum: apiVersions, description: "Istio's, or ours, which knows more." },
      kind: { const: kind },
      metadata: METADATA,
      spec,
      status: { type: "object", description: "What Kubernetes writes there." },
    },
  });
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "Countersign policies",
    description:
      "AuthorizationPolicy, PeerAuthentication and RequestAuthentication, as Istio has them, and our additions.",
    oneOf: [
      document(ISTIO, "AuthorizationPolicy", policySpec(false)),
      document(OURS, "AuthorizationPolicy", policySpec(true)),
      document([...ISTIO, ...OURS], "PeerAuthentication", peerSpec),
      document([...ISTIO, ...OURS], "RequestAuthentication", requestSpec),
    ],
  };
}
