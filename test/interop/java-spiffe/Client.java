import io.spiffe.bundle.x509bundle.X509BundleSet;
import io.spiffe.spiffeid.TrustDomain;
import io.spiffe.svid.jwtsvid.JwtSvid;
import io.spiffe.svid.x509svid.X509Svid;
import io.spiffe.svid.x509svid.X509SvidValidator;
import io.spiffe.workloadapi.DefaultJwtSource;
import io.spiffe.workloadapi.DefaultWorkloadApiClient;
import io.spiffe.workloadapi.DefaultX509Source;
import io.spiffe.workloadapi.Watcher;
import io.spiffe.workloadapi.WorkloadApiClient;
import io.spiffe.workloadapi.X509Context;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/**
 * Uses every call of the SPIFFE Workload API through java-spiffe, as its users do, and prints one JSON line a result. The
 * socket comes from SPIFFE_ENDPOINT_SOCKET. The first error ends it with a stack trace and status 1.
 */
public final class Client {
  private static final int ROTATIONS = 3;
  private static final TrustDomain DOMAIN = TrustDomain.parse("example.org");

  public static void main(String[] args) throws Exception {
    try (WorkloadApiClient client = DefaultWorkloadApiClient.newClient()) {
      fetchX509(client);
      watchX509(client);
      jwt(client);
    }
    sources();
    System.exit(0); // gRPC's threads would linger
  }

  private static void say(String step, String fields) {
    System.out.println("{\"step\":\"" + step + "\"," + fields + "}");
  }

  private static String list(List<String> texts) {
    return texts.stream().map(text -> "\"" + text + "\"").collect(Collectors.joining(",", "[", "]"));
  }

  private static void fetchX509(WorkloadApiClient client) throws Exception {
    X509Context context = client.fetchX509Context();
    X509BundleSet bundles = client.fetchX509Bundles();
    List<String> ids = new ArrayList<>();
    List<String> hints = new ArrayList<>();
    for (X509Svid svid : context.getX509Svids()) {
      X509SvidValidator.verifyChain(svid.getChain(), bundles);
      ids.add(svid.getSpiffeId().toString());
      hints.add(svid.getHint());
    }
    say("x509", "\"ids\":" + list(ids) + ",\"hints\":" + list(hints));
    int authorities = bundles.getBundleForTrustDomain(DOMAIN).getX509Authorities().size();
    say("x509-bundles", "\"authorities\":{\"example.org\":" + authorities + "}");
  }

  private static void watchX509(WorkloadApiClient client) throws Exception {
    BlockingQueue<Object> updates = new LinkedBlockingQueue<>();
    client.watchX509Context(new Watcher<X509Context>() {
      @Override
      public void onUpdate(X509Context update) {
        updates.add(update);
      }

      @Override
      public void onError(Throwable problem) {
        updates.add(problem);
      }
    });
    List<String> serials = new ArrayList<>();
    while (serials.size() <= ROTATIONS) {
      Object update = updates.poll(30, TimeUnit.SECONDS);
      if (!(update instanceof X509Context)) {
        throw new IllegalStateException("no update: " + update);
      }
      X509Context context = (X509Context) update;
      X509SvidValidator.verifyChain(context.getDefaultSvid().getChain(), context.getX509BundleSet());
      serials.add(context.getDefaultSvid().getLeaf().getSerialNumber().toString(16));
    }
    say("watch", "\"serials\":" + list(serials));
  }

  private static void jwt(WorkloadApiClient client) throws Exception {
    JwtSvid svid = client.fetchJwtSvid("payments", "stock");
    JwtSvid local = JwtSvid.parseAndValidate(svid.getToken(), client.fetchJwtBundles(), Set.of("stock"));
    JwtSvid remote = client.validateJwtSvid(svid.getToken(), "payments");
    boolean refused = false;
    try {
      client.validateJwtSvid(svid.getToken(), "other");
    } catch (Exception expected) {
      refused = true;
    }
    say("jwt", "\"id\":\"" + svid.getSpiffeId() + "\",\"audience\":" + list(svid.getAudience().stream().sorted().toList())
        + ",\"local\":\"" + local.getSpiffeId() + "\",\"remote\":\"" + remote.getSpiffeId()
        + "\",\"wrongAudience\":" + refused);
  }

  /** What most services do: sources that follow the Workload API in the background. */
  private static void sources() throws Exception {
    try (DefaultX509Source x509 = DefaultX509Source.newSource(); var jwt = DefaultJwtSource.newSource()) {
      x509.getBundleForTrustDomain(DOMAIN);
      jwt.getBundleForTrustDomain(DOMAIN);
      say("sources", "\"id\":\"" + x509.getX509Svid().getSpiffeId() + "\"");
    }
  }
}
