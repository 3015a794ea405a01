package server_test

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/server"
)

// TestDrainLosesNoCheck: with many checks under way all the time, each one
// that the handler has begun is answered, and each that it has not is refused
// with UNAVAILABLE, which Envoy may send again elsewhere.
func TestDrainLosesNoCheck(t *testing.T) {
	var begun, answered, refused atomic.Int64
	warm := make(chan struct{})
	s, err := server.New(server.Config{Check: func(dst, msg []byte) []byte {
		if begun.Add(1) == 500 {
			close(warm)
		}
		return allowAll(dst, msg)
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := server.Listen(loopback)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	var all sync.WaitGroup
	for range 4 {
		envoy, err := extauthztest.Dial(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer envoy.Close()
		for range 8 {
			all.Go(func() {
				for {
					a, err := envoy.Check(short(t), extauthztest.Request{})
					if status.Code(err) == codes.Unavailable {
						refused.Add(1)
						return
					}
					if err != nil || a.Verdict != extauthztest.VerdictOK {
						t.Errorf("answer %v, error %v", a, err)
						return
					}
					answered.Add(1)
				}
			})
		}
	}
	<-warm
	if !s.Drain(30 * time.Second) {
		t.Error("the drain was broken off")
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	all.Wait()
	if begun.Load() != answered.Load() {
		t.Errorf("%d checks were begun, %d answered", begun.Load(), answered.Load())
	}
	if refused.Load() == 0 {
		t.Error("no check came too late: the test has shown nothing")
	}
}

// TestDrainOrder: health changes first; a check in flight gets its answer
// after that; a new one is not taken; only then Drain returns.
func TestDrainOrder(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s, envoy := started(t, loopback, server.Config{Check: func(dst, msg []byte) []byte {
		entered <- struct{}{}
		<-leave
		return allowAll(dst, msg)
	}})
	s.SetServing(true)
	watch, err := healthgrpc.NewHealthClient(envoy.Conn()).Watch(short(t), &healthgrpc.HealthCheckRequest{Service: server.ServiceName})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, watch, healthgrpc.HealthCheckResponse_SERVING)
	answers := make(chan *extauthztest.Answer, 1)
	go func() {
		a, err := envoy.Check(short(t), extauthztest.Request{})
		if err != nil {
			t.Error(err)
		}
		answers <- a
	}()
	<-entered
	drained := make(chan bool, 1)
	go func() { drained <- s.Drain(30 * time.Second) }()
	expect(t, watch, healthgrpc.HealthCheckResponse_NOT_SERVING)
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the watch ended with %v", err)
	}
	if !s.Draining() {
		t.Error("it does not say that it drains")
	}
	s.SetServing(true) // too late
	select {
	case <-drained:
		t.Fatal("drained with a check in flight")
	default:
	}
	close(leave)
	if a := <-answers; a.Verdict != extauthztest.VerdictOK {
		t.Errorf("the check in flight: %v", a)
	}
	if !<-drained {
		t.Error("the drain was broken off")
	}
	if _, err := envoy.Check(short(t), extauthztest.Request{}); status.Code(err) != codes.Unavailable {
		t.Errorf("a check after the drain: %v", err)
	}
	if !s.Drain(time.Minute) {
		t.Error("a second drain was broken off")
	}
}

// TestDrainTimeout: a check that hangs does not hold the process.
func TestDrainTimeout(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s, envoy := started(t, loopback, server.Config{Check: func(dst, msg []byte) []byte {
		close(entered)
		<-leave
		return allowAll(dst, msg)
	}})
	failed := make(chan error, 1)
	go func() {
		_, err := envoy.Check(short(t), extauthztest.Request{})
		failed <- err
	}()
	<-entered
	if s.Drain(10 * time.Millisecond) {
		t.Error("the drain says that it is complete")
	}
	if err := <-failed; status.Code(err) != codes.Unavailable {
		t.Errorf("the check that hangs: %v", err)
	}
	close(leave)
}

// TestDrainBeforeServe: a signal may come before the listener is served.
func TestDrainBeforeServe(t *testing.T) {
	s, err := server.New(server.Config{Check: allowAll})
	if err != nil {
		t.Fatal(err)
	}
	l, err := server.Listen(loopback)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Drain(time.Minute) {
		t.Error("the drain was broken off")
	}
	if err := s.Serve(l); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("the listener is still open")
	}
}

func expect(t *testing.T, watch interface {
	Recv() (*healthgrpc.HealthCheckResponse, error)
}, want healthgrpc.HealthCheckResponse_ServingStatus) {
	t.Helper()
	r, err := watch.Recv()
	if err != nil || r.GetStatus() != want {
		t.Fatalf("health says %v, error %v; want %v", r.GetStatus(), err, want)
	}
}

func TestHealth(t *testing.T) {
	s, envoy := started(t, loopback, server.Config{Check: allowAll})
	client := healthgrpc.NewHealthClient(envoy.Conn())
	is := func(want healthgrpc.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for _, name := range []string{"", "envoy.service.auth.v3.Authorization"} {
			r, err := client.Check(short(t), &healthgrpc.HealthCheckRequest{Service: name})
			if err != nil || r.GetStatus() != want {
				t.Errorf("service %q: %v, error %v; want %v", name, r.GetStatus(), err, want)
			}
		}
		all, err := client.List(short(t), &healthgrpc.HealthListRequest{})
		if err != nil || len(all.GetStatuses()) != 2 || all.GetStatuses()[""].GetStatus() != want {
			t.Errorf("list %v, error %v", all, err)
		}
	}
	is(healthgrpc.HealthCheckResponse_NOT_SERVING) // until somebody says so
	if a, err := envoy.Check(short(t), extauthztest.Request{}); err != nil || a.Verdict != extauthztest.VerdictOK {
		t.Errorf("a check before SERVING is answered all the same: %v %v", a, err)
	}
	s.SetServing(true)
	is(healthgrpc.HealthCheckResponse_SERVING)
	s.SetServing(false)
	is(healthgrpc.HealthCheckResponse_NOT_SERVING)

	for _, name := range []string{"envoy.service.ext_proc.v3.ExternalProcessor", "x"} {
		if _, err := client.Check(short(t), &healthgrpc.HealthCheckRequest{Service: name}); status.Code(err) != codes.NotFound {
			t.Errorf("service %q: %v", name, err)
		}
	}
	if _, err := client.Check(short(t), nil); err != nil {
		t.Errorf("an empty request asks for the server as a whole: %v", err)
	}
}

func TestHealthWatch(t *testing.T) {
	s, envoy := started(t, loopback, server.Config{Check: allowAll})
	client := healthgrpc.NewHealthClient(envoy.Conn())
	watch, err := client.Watch(short(t), &healthgrpc.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := client.Watch(short(t), &healthgrpc.HealthCheckRequest{Service: "x"})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, watch, healthgrpc.HealthCheckResponse_NOT_SERVING)
	expect(t, unknown, healthgrpc.HealthCheckResponse_SERVICE_UNKNOWN)
	for range 3 {
		s.SetServing(true)
		s.SetServing(true) // no change, no message
		expect(t, watch, healthgrpc.HealthCheckResponse_SERVING)
		s.SetServing(false)
		expect(t, watch, healthgrpc.HealthCheckResponse_NOT_SERVING)
	}
	if !s.Drain(30 * time.Second) {
		t.Error("watchers hold the drain")
	}
	for name, w := range map[string]interface {
		Recv() (*healthgrpc.HealthCheckResponse, error)
	}{"watch": watch, "unknown": unknown} {
		if _, err := w.Recv(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s ended with %v", name, err)
		}
	}
}
