// Command cmd runs the toy issuer on loopback:
//
//	go run ./examples/issuer/cmd -listen 127.0.0.1:9000 -audience https://api.example
//	curl -d user=alice http://127.0.0.1:9000/token
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/holdfast-authz/holdfast/examples/issuer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "issuer:", err)
		os.Exit(1)
	}
}

// run prints its URL to out and serves until ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("issuer", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "loopback `address`; anyone who reaches it gets tokens")
	audience := flags.String("audience", "https://api.example", "`aud` of the tokens")
	if err := flags.Parse(args); err != nil {
		return err
	}
	address, err := net.ResolveTCPAddr("tcp", *listen)
	if err != nil {
		return err
	}
	if !address.IP.IsLoopback() {
		return fmt.Errorf("%s is not loopback, and this issuer asks nobody for a password: use 127.0.0.1:PORT", *listen)
	}
	l, err := net.ListenTCP("tcp", address)
	if err != nil {
		return err
	}
	url := "http://" + l.Addr().String()
	i, err := issuer.New(issuer.Config{URL: url, Audience: *audience})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, url)
	server := &http.Server{Handler: i.Handler(), ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
