package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// serve answers with the caller's SPIFFE ID and the path.
func serve(ctx context.Context, caller string) error {
	id, err := spiffeid.FromString(caller)
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
	server := &http.Server{
		TLSConfig: tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeID(id)),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s %s", r.TLS.PeerCertificates[0].URIs[0], r.URL.Path)
		}),
	}
	say("listening", map[string]any{"address": listener.Addr().String()})
	return server.ServeTLS(listener, "", "")
}

// call says for each URL what came back, or why nothing did.
func call(ctx context.Context, server string, urls []string) error {
	id, err := spiffeid.FromString(server)
	if err != nil {
		return err
	}
	source, err := workloadapi.NewX509Source(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	client := &http.Client{
		Transport: &http.Transport{TLSClientConfig: tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(id))},
	}
	for i, url := range urls {
		step := fmt.Sprintf("call-%d", i)
		response, err := client.Get(url)
		if err != nil {
			say(step, map[string]any{"error": err.Error()})
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			return err
		}
		say(step, map[string]any{"status": response.StatusCode, "body": string(body)})
	}
	return nil
}
