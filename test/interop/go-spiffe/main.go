// Command go-spiffe uses every call of the SPIFFE Workload API through github.com/spiffe/go-spiffe/v2, as its users do, and
// prints one JSON line a result. The socket comes from SPIFFE_ENDPOINT_SOCKET. The first error ends it with status 1.
//
//	go-spiffe                 all calls, and three rotations
//	go-spiffe serve ID        an HTTPS server that only ID may call, until it is killed
//	go-spiffe call ID URL…    calls URLs at a server that must prove ID
//	go-spiffe fetch-bundle URL FILE [ID]    gets the bundle of example.org
//	go-spiffe serve-bundle DOMAIN FILE      a bundle endpoint, until it is killed
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

const rotations = 3

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		return serve(ctx, args[1])
	case len(args) > 2 && args[0] == "call":
		return call(ctx, args[1], args[2:])
	case len(args) == 3 && args[0] == "fetch-bundle":
		return fetchBundle(ctx, args[1], args[2], "")
	case len(args) == 4 && args[0] == "fetch-bundle":
		return fetchBundle(ctx, args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "serve-bundle":
		return serveBundle(ctx, args[1], args[2])
	default:
		return run(ctx)
	}
}

func run(ctx context.Context) error {
	client, err := workloadapi.New(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	for _, step := range []func(context.Context, *workloadapi.Client) error{
		fetchX509, watchX509, fetchX509Bundles, jwt, serveFromSource,
	} {
		if err := step(ctx, client); err != nil {
			return err
		}
	}
	return nil
}

func say(step string, fields map[string]any) {
	fields["step"] = step
	line, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

func fetchX509(ctx context.Context, client *workloadapi.Client) error {
	svids, err := client.FetchX509SVIDs(ctx)
	if err != nil {
		return fmt.Errorf("FetchX509SVIDs: %w", err)
	}
	bundles, err := client.FetchX509Bundles(ctx)
	if err != nil {
		return fmt.Errorf("FetchX509Bundles: %w", err)
	}
	ids := []string{}
	hints := []string{}
	for _, svid := range svids {
		id, _, err := x509svid.Verify(svid.Certificates, bundles)
		if err != nil {
			return fmt.Errorf("verify %s: %w", svid.ID, err)
		}
		ids = append(ids, id.String())
		hints = append(hints, svid.Hint)
	}
	say("x509", map[string]any{"ids": ids, "hints": hints})
	return nil
}

type watcher struct {
	serials chan string
	errors  chan error
}

func (w *watcher) OnX509ContextUpdate(update *workloadapi.X509Context) {
	svid := update.DefaultSVID()
	if _, _, err := x509svid.Verify(svid.Certificates, update.Bundles); err != nil {
		w.errors <- err
		return
	}
	w.serials <- svid.Certificates[0].SerialNumber.String()
}

func (w *watcher) OnX509ContextWatchError(err error) { w.errors <- err }

func watchX509(ctx context.Context, client *workloadapi.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &watcher{serials: make(chan string, 16), errors: make(chan error, 16)}
	done := make(chan error, 1)
	go func() { done <- client.WatchX509Context(ctx, w) }()
	serials := []string{}
	for len(serials) < rotations+1 {
		select {
		case serial := <-w.serials:
			serials = append(serials, serial)
		case err := <-w.errors:
			return fmt.Errorf("watch: %w", err)
		case err := <-done:
			return fmt.Errorf("watch ended: %w", err)
		}
	}
	say("watch", map[string]any{"serials": serials})
	return nil
}

func fetchX509Bundles(ctx context.Context, client *workloadapi.Client) error {
	set, err := client.FetchX509Bundles(ctx)
	if err != nil {
		return err
	}
	domains := map[string]int{}
	for _, bundle := range set.Bundles() {
		domains[bundle.TrustDomain().Name()] = len(bundle.X509Authorities())
	}
	say("x509-bundles", map[string]any{"authorities": domains})
	return nil
}

func jwt(ctx context.Context, client *workloadapi.Client) error {
	svid, err := client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: "payments", ExtraAudiences: []string{"stock"}})
	if err != nil {
		return fmt.Errorf("FetchJWTSVID: %w", err)
	}
	bundles, err := client.FetchJWTBundles(ctx)
	if err != nil {
		return fmt.Errorf("FetchJWTBundles: %w", err)
	}
	local, err := jwtsvid.ParseAndValidate(svid.Marshal(), bundles, []string{"stock"})
	if err != nil {
		return fmt.Errorf("ParseAndValidate: %w", err)
	}
	remote, err := client.ValidateJWTSVID(ctx, svid.Marshal(), "payments")
	if err != nil {
		return fmt.Errorf("ValidateJWTSVID: %w", err)
	}
	_, refusal := client.ValidateJWTSVID(ctx, svid.Marshal(), "other")
	say("jwt", map[string]any{
		"id":            svid.ID.String(),
		"audience":      svid.Audience,
		"local":         local.ID.String(),
		"remote":        remote.ID.String(),
		"lifeSeconds":   int(time.Until(svid.Expiry).Seconds()),
		"wrongAudience": refusal != nil,
	})
	return nil
}

// serveFromSource is what most services do: sources that follow the Workload API in the background.
func serveFromSource(ctx context.Context, client *workloadapi.Client) error {
	x509Source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClient(client))
	if err != nil {
		return fmt.Errorf("NewX509Source: %w", err)
	}
	defer x509Source.Close()
	jwtSource, err := workloadapi.NewJWTSource(ctx, workloadapi.WithClient(client))
	if err != nil {
		return fmt.Errorf("NewJWTSource: %w", err)
	}
	defer jwtSource.Close()
	svid, err := x509Source.GetX509SVID()
	if err != nil {
		return err
	}
	var x509Bundles x509bundle.Source = x509Source
	if _, err := x509Bundles.GetX509BundleForTrustDomain(svid.ID.TrustDomain()); err != nil {
		return err
	}
	var jwtBundles jwtbundle.Source = jwtSource
	if _, err := jwtBundles.GetJWTBundleForTrustDomain(svid.ID.TrustDomain()); err != nil {
		return err
	}
	say("sources", map[string]any{"id": svid.ID.String()})
	return nil
}
