// Command bench measures what one cached check costs: server CPU per check of
// `holdfast serve` beside a no-op ext_authz server (grpc-go, standard
// protobuf) in the same run, with the same requests from the same client.
// These machines are noisy, so only the ratio counts; it fails when the ratio
// is over the budget.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"text/tabwriter"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == noopVerb {
		if err := serveNoop(); err != nil {
			fmt.Fprintln(os.Stderr, "bench: no-op server:", err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.StringVar(&o.holdfast, "holdfast", "bin/holdfast", "the holdfast program to measure")
	flag.DurationVar(&o.duration, "duration", 3*time.Second, "length of one round")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of each server, taken in turn")
	flag.IntVar(&o.connections, "connections", 2, "HTTP/2 connections, as an Envoy with as many workers has")
	flag.IntVar(&o.inflight, "inflight", 32, "checks in flight on each connection")
	flag.Float64Var(&o.budget, "budget", 1.0, "largest ratio of CPU per check to the no-op server's")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	holdfast              string
	duration              time.Duration
	rounds                int
	connections, inflight int
	budget                float64
}

// noopVerb makes this program the no-op server.
const noopVerb = "serve-noop"

func serveNoop() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	return extauthztest.ServeNoop(listener)
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "holdfast-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	scene, err := newScene(dir)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	noop, err := start(ctx, "no-op grpc-go", self, noopVerb)
	if err != nil {
		return err
	}
	defer noop.stop()
	holdfast, err := start(ctx, "holdfast, cached mTLS-bound token", o.holdfast, "serve", "-c", scene.config)
	if err != nil {
		return err
	}
	defer holdfast.stop()

	fmt.Printf("%d rounds of %v each, %d connections with %d checks in flight; request of %d bytes\n",
		o.rounds, o.duration, o.connections, o.inflight, len(scene.request))
	servers := []*server{noop, holdfast}
	for round := range o.rounds {
		for _, s := range servers {
			if err := s.measure(ctx, o, scene.request); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			fmt.Printf("  round %d  %-34s %6.1f us CPU per check, %7.0f checks/s\n", round+1, s.name, s.last.cpu, s.last.rate)
		}
	}
	return report(servers, o.budget)
}

func report(servers []*server, budget float64) error {
	base := servers[0].best()
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "server\tCPU us/check\tratio\tbudget\tchecks/s\t")
	var over error
	for i, s := range servers {
		best := s.best()
		limit := "-"
		if i > 0 {
			limit = fmt.Sprintf("%.2f", budget)
			if ratio := best.cpu / base.cpu; ratio >= budget {
				over = fmt.Errorf("%s takes %.2f of the no-op server's CPU; the budget is below %.2f", s.name, ratio, budget)
			}
		}
		fmt.Fprintf(w, "%s\t%.1f\t%.2f\t%s\t%.0f\t\n", s.name, best.cpu, best.cpu/base.cpu, limit, best.rate)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return over
}
