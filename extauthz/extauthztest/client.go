package extauthztest

import (
	"context"
	"fmt"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Envoy asks a Check server as the real one does: gRPC with standard protobuf.
type Envoy struct {
	conn  *grpc.ClientConn
	check authv3.AuthorizationClient
}

// Dial makes an Envoy for the server at host:port or unix:///path. It connects
// at the first check. Options are added to the plain-text default, so that
// transport credentials among them win.
func Dial(address string, opts ...grpc.DialOption) (*Envoy, error) {
	if !strings.HasPrefix(address, "unix:") {
		address = "passthrough:///" + address // no name resolution, no service configuration from DNS
	}
	opts = append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, opts...)
	conn, err := grpc.NewClient(address, opts...)
	if err != nil {
		return nil, fmt.Errorf("prepare to ask %s: %w", address, err)
	}
	return &Envoy{conn: conn, check: authv3.NewAuthorizationClient(conn)}, nil
}

// Close ends the connection.
func (e *Envoy) Close() error { return e.conn.Close() }

// Conn is the connection, for other services of the server.
func (e *Envoy) Conn() *grpc.ClientConn { return e.conn }

// Check asks. An error is a gRPC error, which an Envoy with
// failure_mode_allow lets through: tests of the product treat each as a fault.
func (e *Envoy) Check(ctx context.Context, r Request) (*Answer, error) {
	return e.CheckProto(ctx, r.Proto())
}

// CheckProto asks with a request made elsewhere.
func (e *Envoy) CheckProto(ctx context.Context, r *authv3.CheckRequest) (*Answer, error) {
	response, err := e.check.Check(ctx, r)
	if err != nil {
		return nil, err
	}
	return ReadAnswer(response), nil
}
