//! Uses every call of the SPIFFE Workload API through the crate `spiffe`, as its users do, and prints one JSON line a
//! result. The socket comes from SPIFFE_ENDPOINT_SOCKET. The first error ends it with status 1.

use std::error::Error;
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use spiffe::{BundleSource, JwtSource, JwtSvid, TrustDomain, WorkloadApiClient, X509Source};
use x509_parser::prelude::{FromDer, X509Certificate};

type Outcome = Result<(), Box<dyn Error>>;

const ROTATIONS: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    tokio::time::timeout(TIMEOUT, run()).await?
}

async fn run() -> Outcome {
    let client = WorkloadApiClient::connect_env().await?;
    fetch_x509(&client).await?;
    watch_x509(&client).await?;
    jwt(&client).await?;
    sources().await
}

fn say(step: &str, mut fields: Value) {
    fields["step"] = json!(step);
    println!("{fields}");
}

async fn fetch_x509(client: &WorkloadApiClient) -> Outcome {
    let svids = client.fetch_all_x509_svids().await?;
    let bundles = client.fetch_x509_bundles().await?;
    let ids: Vec<_> = svids
        .iter()
        .map(|svid| svid.spiffe_id().to_string())
        .collect();
    let hints: Vec<_> = svids.iter().map(|svid| svid.hint().unwrap_or("")).collect();
    let authorities: serde_json::Map<_, _> = bundles
        .iter()
        .map(|(domain, bundle)| (domain.to_string(), json!(bundle.authorities().len())))
        .collect();
    say("x509", json!({ "ids": ids, "hints": hints }));
    say("x509-bundles", json!({ "authorities": authorities }));
    Ok(())
}

async fn watch_x509(client: &WorkloadApiClient) -> Outcome {
    let mut updates = client.stream_x509_contexts().await?;
    let mut serials = Vec::new();
    while serials.len() <= ROTATIONS {
        let update = updates.next().await.ok_or("the stream ended")??;
        let svid = update.default_svid().ok_or("no SVID")?;
        let bundle = update
            .bundle_set()
            .get(svid.spiffe_id().trust_domain())
            .ok_or("no bundle")?;
        let (_, leaf) = X509Certificate::from_der(svid.cert_chain()[0].as_bytes())?;
        let last = svid.cert_chain().last().ok_or("no certificate")?;
        let (_, last) = X509Certificate::from_der(last.as_bytes())?;
        let ends_in_bundle = bundle.authorities().iter().any(|authority| {
            X509Certificate::from_der(authority.as_bytes())
                .is_ok_and(|(_, ca)| last.issuer() == ca.subject())
        });
        if !ends_in_bundle || !leaf.validity().is_valid() {
            return Err("the SVID does not end in the bundle, or is not valid".into());
        }
        serials.push(leaf.raw_serial_as_string());
    }
    say("watch", json!({ "serials": serials }));
    Ok(())
}

async fn jwt(client: &WorkloadApiClient) -> Outcome {
    let svid = client.fetch_jwt_svid(["payments", "stock"], None).await?;
    let bundles = client.fetch_jwt_bundles().await?;
    let local = JwtSvid::parse_and_validate(svid.token(), &bundles, &["stock"])?;
    let remote = client.validate_jwt_token("payments", svid.token()).await?;
    let wrong_audience = client.validate_jwt_token("other", svid.token()).await;
    say(
        "jwt",
        json!({
            "id": svid.spiffe_id().to_string(),
            "audience": svid.audience(),
            "local": local.spiffe_id().to_string(),
            "remote": remote.spiffe_id().to_string(),
            "wrongAudience": wrong_audience.is_err(),
        }),
    );
    Ok(())
}

/// What most services do: sources that follow the Workload API in the background.
async fn sources() -> Outcome {
    let x509 = X509Source::new().await?;
    let jwt = JwtSource::new().await?;
    let svid = x509.svid()?;
    let domain: &TrustDomain = svid.spiffe_id().trust_domain();
    x509.bundle_for_trust_domain(domain)?
        .ok_or("no X.509 bundle")?;
    jwt.bundle_for_trust_domain(domain)?
        .ok_or("no JWT bundle")?;
    say("sources", json!({ "id": svid.spiffe_id().to_string() }));
    x509.shutdown().await;
    jwt.shutdown().await;
    Ok(())
}
