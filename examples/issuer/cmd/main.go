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
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "issuer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("issuer", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "loopback `address`; anyone who reaches it gets tokens")
	audience := flags.String("audience", "https://api.example", "`aud` of the tokens")
	if err := flags.Parse(args); err != nil {
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	if !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
		return errors.Join(fmt.Errorf("%s is not loopback, and this issuer asks nobody for a password", *listen), l.Close())
	}
	url := "http://" + l.Addr().String()
	i, err := issuer.New(issuer.Config{URL: url, Audience: *audience})
	if err != nil {
		return err
	}
	fmt.Println(url)
	server := &http.Server{Handler: i.Handler(), ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
