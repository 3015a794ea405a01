package extauthztest

import (
	"context"
	"net"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
)

// NewNoop makes the baseline of our benchmarks: an ext_authz server as one
// writes it first, grpc-go with its default options and standard protobuf,
// that lets every request through. Nothing that decides can be had for less in
// that way.
func NewNoop() *grpc.Server {
	s := grpc.NewServer()
	authv3.RegisterAuthorizationServer(s, noop{})
	return s
}

// ServeNoop runs it on l until the listener fails.
func ServeNoop(l net.Listener) error { return NewNoop().Serve(l) }

type noop struct{}

func (noop) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{
		Status:       &status.Status{},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
	}, nil
}
