"""Uses every call of the SPIFFE Workload API through the PyPI package `spiffe`, as its users do, and prints one JSON line a
result. The socket comes from SPIFFE_ENDPOINT_SOCKET. The first error ends it with a traceback."""

import json
import queue

from cryptography.hazmat.primitives.asymmetric import ec
from spiffe import JwtSvid, TrustDomain, WorkloadApiClient, X509Source

ROTATIONS = 3
TRUST_DOMAIN = TrustDomain("example.org")


def say(step, **fields):
    print(json.dumps({"step": step, **fields}), flush=True)


def verify(svid, authorities):
    """The leaf is signed by one of the bundle's authorities."""
    problems = []
    for authority in authorities:
        try:
            svid.leaf.verify_directly_issued_by(authority)
            return
        except Exception as problem:  # any other authority may still have signed it
            problems.append(problem)
    raise AssertionError(f"no authority signed {svid.spiffe_id}: {problems}")


def fetch_x509(client):
    svids = client.fetch_x509_svids()
    authorities = client.fetch_x509_bundles().get_bundle_for_trust_domain(TRUST_DOMAIN).x509_authorities
    for svid in svids:
        verify(svid, authorities)
        assert isinstance(svid.private_key, ec.EllipticCurvePrivateKey)
    say("x509", ids=[str(svid.spiffe_id) for svid in svids])
    say("x509-bundles", authorities={"example.org": len(authorities)})


def watch_x509(client):
    updates = queue.Queue()
    handler = client.stream_x509_contexts(updates.put, updates.put)
    serials = []
    while len(serials) < ROTATIONS + 1:
        update = updates.get(timeout=30)
        if isinstance(update, Exception):
            raise update
        svid = update.default_svid
        verify(svid, update.x509_bundle_set.get_bundle_for_trust_domain(TRUST_DOMAIN).x509_authorities)
        serials.append(f"{svid.leaf.serial_number:x}")
    handler.cancel()
    say("watch", serials=serials)


def jwt(client):
    svid = client.fetch_jwt_svid(audience={"payments", "stock"})
    bundle = client.fetch_jwt_bundles().get_bundle_for_trust_domain(TRUST_DOMAIN)
    local = JwtSvid.parse_and_validate(svid.token, bundle, {"stock"})
    remote = client.validate_jwt_svid(svid.token, "payments")
    try:
        client.validate_jwt_svid(svid.token, "other")
        wrong_audience = "accepted"
    except Exception as problem:
        wrong_audience = str(problem)
    say(
        "jwt",
        id=str(svid.spiffe_id),
        audience=sorted(svid.audience),
        local=str(local.spiffe_id),
        remote=str(remote.spiffe_id),
        wrongAudience=wrong_audience,
    )


def source():
    with X509Source(timeout_in_seconds=30) as x509_source:
        say("sources", id=str(x509_source.svid.spiffe_id))


with WorkloadApiClient() as workload_api:
    fetch_x509(workload_api)
    watch_x509(workload_api)
    jwt(workload_api)
source()
