package server

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// health is the gRPC health service for a fixed set of names that share one
// state. Unlike grpc-go's own it ends its watchers when the server drains:
// else each of them would hold GracefulStop until its time is up.
type health struct {
	healthgrpc.UnimplementedHealthServer
	names []string

	mu       sync.Mutex
	serving  bool
	draining bool
	changed  chan struct{} // closed at every change and replaced
}

func newHealth(names ...string) *health {
	return &health{names: names, changed: make(chan struct{})}
}

func (h *health) set(serving bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining || serving == h.serving {
		return
	}
	h.serving = serving
	h.tell()
}

// drain turns to NOT_SERVING for good.
func (h *health) drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.draining {
		h.draining, h.serving = true, false
		h.tell()
	}
}

func (h *health) isDraining() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.draining
}

// tell wakes the watchers. The caller holds mu.
func (h *health) tell() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// state gives what a watcher needs: the status, whether it is the last one,
// and what to wait for.
func (h *health) state() (s healthgrpc.HealthCheckResponse_ServingStatus, last bool, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s = healthgrpc.HealthCheckResponse_NOT_SERVING
	if h.serving {
		s = healthgrpc.HealthCheckResponse_SERVING
	}
	return s, h.draining, h.changed
}

func (h *health) knows(name string) bool {
	for _, n := range h.names {
		if n == name {
			return true
		}
	}
	return false
}

// Check is the unary method, the one that Envoy uses.
func (h *health) Check(_ context.Context, r *healthgrpc.HealthCheckRequest) (*healthgrpc.HealthCheckResponse, error) {
	if !h.knows(r.GetService()) {
		return nil, status.Error(codes.NotFound, "unknown service")
	}
	s, _, _ := h.state()
	return &healthgrpc.HealthCheckResponse{Status: s}, nil
}

// List gives all names.
func (h *health) List(context.Context, *healthgrpc.HealthListRequest) (*healthgrpc.HealthListResponse, error) {
	s, _, _ := h.state()
	all := &healthgrpc.HealthListResponse{Statuses: map[string]*healthgrpc.HealthCheckResponse{}}
	for _, n := range h.names {
		all.Statuses[n] = &healthgrpc.HealthCheckResponse{Status: s}
	}
	return all, nil
}

// Watch sends the status now and at every change. For a name that is unknown
// it says so and stays, as the protocol has it; names never appear later.
func (h *health) Watch(r *healthgrpc.HealthCheckRequest, stream grpc.ServerStreamingServer[healthgrpc.HealthCheckResponse]) error {
	sent := healthgrpc.HealthCheckResponse_UNKNOWN
	for {
		s, last, changed := h.state()
		if !h.knows(r.GetService()) {
			s = healthgrpc.HealthCheckResponse_SERVICE_UNKNOWN
		}
		if s != sent {
			if err := stream.Send(&healthgrpc.HealthCheckResponse{Status: s}); err != nil {
				return err
			}
			sent = s
		}
		if last {
			return status.Error(codes.Unavailable, "the server is being stopped")
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}
