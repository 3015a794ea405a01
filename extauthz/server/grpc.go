package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// Names of the service (envoy/service/auth/v3/external_auth.proto).
const (
	ServiceName = "envoy.service.auth.v3.Authorization"
	methodCheck = "Check"
)

// Bounds of a connection. grpc-go's own defaults are no bound on streams and
// 16 MiB of headers (security.md §4).
const (
	// maxFrame bounds what is read into memory. It lies over wire.MaxMessage,
	// the largest request that is looked at, so that one in between is denied
	// instead of ending in a gRPC error.
	maxFrame          = 1 << 20
	maxStreams        = 1000     // per connection; Envoy opens another one
	maxMetadata       = 64 << 10 // bytes of an RPC's own headers
	handshakeTimeout  = 5 * time.Second
	streamWindow      = 64 << 10 // static: no probing for a better one
	connectionWindow  = 1 << 20
	streamWorkers     = 16
	pingInterval      = 30 * time.Second // ours, to find proxies that are gone
	pingTimeout       = 10 * time.Second
	minPingInterval   = time.Second // theirs, Envoy's connection_keepalive: 5s and jitter, some set 2s
	connectionAge     = time.Hour   // then GOAWAY, so that proxies spread anew over replicas
	connectionGrace   = time.Minute
	defaultInFlight   = 1024
	stopAfterHardStop = time.Second
)

// Config of a Server. Only Check is required.
type Config struct {
	Check Handler

	// Overloaded gives the answer to a check over MaxInFlight, OnPanic that to
	// one in which Check has panicked. Without them, and where they panic
	// themselves, the answer is a 503 error_response. The bytes are not
	// changed and may be the same each time.
	Overloaded func() []byte
	OnPanic    func(value any, stack []byte) []byte

	MaxInFlight int         // checks that run at the same time; 0 = 1024
	TLS         *tls.Config // nil = plain text: a Unix socket or loopback
}

// Server serves checks and the health service over gRPC.
type Server struct {
	config   Config
	grpc     *grpc.Server
	health   *health
	inflight inflight
	codec    codec
	answers  answers
	panics   atomic.Uint64
	fault    []byte // answers of last resort; never written to
	busy     []byte
}

// New makes a Server. It is not serving: health says NOT_SERVING until
// SetServing, though checks are answered from the first moment.
func New(c Config) (*Server, error) {
	if c.Check == nil {
		return nil, errors.New("server: Config.Check is missing")
	}
	if c.MaxInFlight < 0 {
		return nil, errors.New("server: Config.MaxInFlight is negative")
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = defaultInFlight
	}
	s := &Server{
		config: c, health: newHealth("", ServiceName),
		fault: unable(reason.Internal), busy: unable(reason.Overloaded),
	}
	s.inflight.max = int64(c.MaxInFlight)
	s.grpc = grpc.NewServer(s.options()...)
	s.grpc.RegisterService(&grpc.ServiceDesc{
		ServiceName: ServiceName,
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: methodCheck, Handler: s.serveCheck}},
		Metadata:    "envoy/service/auth/v3/external_auth.proto",
	}, s)
	healthgrpc.RegisterHealthServer(s.grpc, s.health)
	return s, nil
}

func (s *Server) options() []grpc.ServerOption {
	opts := []grpc.ServerOption{
		grpc.ForceServerCodecV2(&s.codec),
		grpc.MaxRecvMsgSize(maxFrame),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxMetadata),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.NumStreamWorkers(streamWorkers),
		// Envoy pings without a stream open; grpc-go would hang up on it
		// (envoy.md §0, 9).
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPingInterval, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: pingInterval, Timeout: pingTimeout,
			MaxConnectionAge: connectionAge, MaxConnectionAgeGrace: connectionGrace,
		}),
	}
	if conf := s.config.TLS; conf != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(conf)))
	}
	return opts
}

// serveCheck is the method's handler in grpc-go's terms: read, answer, return
// what codec.Marshal is to write.
func (s *Server) serveCheck(_ any, _ context.Context, read func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	c := s.codec.get()
	if err := read(c); err != nil {
		c.free()
		s.codec.calls.Put(c)
		return nil, err
	}
	c.out = s.answer(c.in.ReadOnlyData())
	c.free()
	return c, nil
}

// Serve answers on l, which it closes, until Drain; then it returns nil when
// the last check is done. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// SetServing says by the health service whether proxies should ask. Checks are
// answered in either case. After Drain has begun it has no effect.
func (s *Server) SetServing(serving bool) { s.health.set(serving) }

// Draining tells whether Drain has begun.
func (s *Server) Draining() bool { return s.health.isDraining() }

// Drain ends the server: health turns to NOT_SERVING, no connection and no
// new stream is accepted, and the checks in flight finish with their answers.
// What is not done after timeout is broken off, and then it returns false.
//
// A proxy that has not yet seen the health change may lose the race for a new
// connection. Who wants to give it time calls SetServing(false), waits for an
// interval of its health checks, and then drains.
func (s *Server) Drain(timeout time.Duration) (complete bool) {
	s.health.drain()
	done := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(done)
	}()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
	}
	s.grpc.Stop()
	// GracefulStop still waits for handlers; one that hangs must not keep the
	// process.
	timer.Reset(stopAfterHardStop)
	select {
	case <-done:
	case <-timer.C:
	}
	return false
}

// Stats are counters since the start, and InFlight is of now.
type Stats struct {
	Checks     uint64 // that the handler was asked about
	Overloaded uint64 // that were over MaxInFlight
	Panics     uint64
	InFlight   int
}

// Stats may be read at any time.
func (s *Server) Stats() Stats {
	return Stats{
		Checks: s.inflight.entered.Load(), Overloaded: s.inflight.refused.Load(),
		Panics: s.panics.Load(), InFlight: int(s.inflight.now.Load()),
	}
}
