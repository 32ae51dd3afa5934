// Command grpc is the load and the origin of the gRPC streaming workload:
//
//	grpc serve PORT
//	grpc load PORT CONNECTIONS STREAMS SECONDS
//
// Each stream sends a message and waits for its answer, over and over. The load prints one LoadReport (../load-report.ts)
// as JSON. The service is TestService of gRPC's interoperability tests, whose code comes with grpc-go.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
)

func main() {
	numbers := make([]int, 0, 4)
	if len(os.Args) > 2 {
		for _, text := range os.Args[2:] {
			number, err := strconv.Atoi(text)
			if err != nil {
				fail(err)
			}
			numbers = append(numbers, number)
		}
	}
	var err error
	switch {
	case len(numbers) == 1 && os.Args[1] == "serve":
		err = serve(numbers[0])
	case len(numbers) == 4 && os.Args[1] == "load":
		err = load(numbers[0], numbers[1], numbers[2], time.Duration(numbers[3])*time.Second)
	default:
		err = errors.New("usage: grpc serve PORT | grpc load PORT CONNECTIONS STREAMS SECONDS")
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

type echo struct {
	grpc_testing.UnimplementedTestServiceServer
}

func (echo) FullDuplexCall(stream grpc.BidiStreamingServer[grpc_testing.StreamingOutputCallRequest, grpc_testing.StreamingOutputCallResponse]) error {
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&grpc_testing.StreamingOutputCallResponse{Payload: request.GetPayload()}); err != nil {
			return err
		}
	}
}

func serve(port int) error {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	grpc_testing.RegisterTestServiceServer(server, echo{})
	return server.Serve(listener)
}

func load(port, connections, streams int, length time.Duration) error {
	var failures atomic.Int64
	var lock sync.Mutex
	var all []time.Duration
	var group sync.WaitGroup
	started := time.Now()
	until := started.Add(length)
	for range connections {
		connection, err := grpc.NewClient(fmt.Sprintf("passthrough:///127.0.0.1:%d", port),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer connection.Close()
		client := grpc_testing.NewTestServiceClient(connection)
		for range streams {
			group.Go(func() {
				took, err := pingPong(client, until)
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					failures.Add(1)
				}
				lock.Lock()
				defer lock.Unlock()
				all = append(all, took...)
			})
		}
	}
	group.Wait()
	seconds := time.Since(started).Seconds()
	slices.Sort(all)
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"units": len(all), "calls": connections * streams, "seconds": seconds,
		"p50Us": percentile(all, 0.5), "p99Us": percentile(all, 0.99), "errors": failures.Load(),
	})
}

func percentile(sorted []time.Duration, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[int(float64(len(sorted)-1)*share)].Nanoseconds()) / 1e3
}

func pingPong(client grpc_testing.TestServiceClient, until time.Time) ([]time.Duration, error) {
	ctx, cancel := context.WithDeadline(context.Background(), until.Add(10*time.Second))
	defer cancel()
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		return nil, err
	}
	message := &grpc_testing.StreamingOutputCallRequest{Payload: &grpc_testing.Payload{Body: []byte("hello")}}
	var took []time.Duration
	for time.Now().Before(until) {
		sent := time.Now()
		if err := stream.Send(message); err != nil {
			return took, err
		}
		if _, err := stream.Recv(); err != nil {
			return took, err
		}
		took = append(took, time.Since(sent))
	}
	if err := stream.CloseSend(); err != nil {
		return took, err
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return took, fmt.Errorf("the stream did not end well: %v", err)
	}
	return took, nil
}
