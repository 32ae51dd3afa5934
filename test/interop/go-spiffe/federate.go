package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// fetchBundle gets the bundle of example.org from its endpoint, which proves itself by the endpoint ID (with the bundle in
// the file), or, without ID, by a web certificate (with the roots in the file).
func fetchBundle(ctx context.Context, url, file, endpointID string) error {
	domain := spiffeid.RequireTrustDomainFromString("example.org")
	option, err := authentication(domain, file, endpointID)
	if err != nil {
		return err
	}
	bundle, err := federation.FetchBundle(ctx, domain, url, option)
	if err != nil {
		return err
	}
	sequence, _ := bundle.SequenceNumber()
	hint, _ := bundle.RefreshHint()
	say("bundle", map[string]any{
		"sequence": sequence,
		"refresh":  hint.Seconds(),
		"x509":     len(bundle.X509Authorities()),
		"jwt":      len(bundle.JWTAuthorities()),
	})
	return nil
}

func authentication(domain spiffeid.TrustDomain, file, endpointID string) (federation.FetchOption, error) {
	if endpointID != "" {
		bundle, err := spiffebundle.Load(domain, file)
		if err != nil {
			return nil, err
		}
		id, err := spiffeid.FromString(endpointID)
		if err != nil {
			return nil, err
		}
		return federation.WithSPIFFEAuth(bundle, id), nil
	}
	roots, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return federation.WithWebPKIRoots(pool), nil
}

// serveBundle is a bundle endpoint for another trust domain, with our SVID as its certificate, until it is killed.
func serveBundle(ctx context.Context, trustDomain, file string) error {
	domain, err := spiffeid.TrustDomainFromString(trustDomain)
	if err != nil {
		return err
	}
	bundle, err := spiffebundle.Load(domain, file)
	if err != nil {
		return err
	}
	handler, err := federation.NewHandler(domain, bundle)
	if err != nil {
		return err
	}
	source, err := workloadapi.NewX509Source(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{TLSConfig: tlsconfig.TLSServerConfig(source), Handler: handler}
	say("listening", map[string]any{"address": listener.Addr().String()})
	return server.ServeTLS(listener, "", "")
}
