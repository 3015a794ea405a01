package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/server"
	"github.com/holdfast-authz/holdfast/extauthz/wire"
)

// started runs a server on an address and gives it with an Envoy.
func started(t *testing.T, address string, c server.Config, opts ...grpc.DialOption) (*server.Server, *extauthztest.Envoy) {
	t.Helper()
	s, err := server.New(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := server.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s, l)
	if l.Addr().Network() == "tcp" {
		address = l.Addr().String()
	}
	envoy, err := extauthztest.Dial(address, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { envoy.Close() })
	return s, envoy
}

const loopback = "127.0.0.1:0"

// allowAll lets everything through that is a CheckRequest, and says its path
// in the metadata.
func allowAll(dst, msg []byte) []byte {
	var req extauthz.Request
	if err := wire.DecodeCheck(msg, &req); err != nil {
		return wire.AppendResponse(dst, &extauthz.Response{
			Verdict: reason.Deny, Code: 7, Status: 400, Metadata: extauthz.Metadata{Reason: reason.RequestMalformed, Enforced: true},
		})
	}
	return wire.AppendResponse(dst, &extauthz.Response{
		Verdict: reason.Allow, Metadata: extauthz.Metadata{Decision: reason.Allow, Reason: reason.OK, Enforced: true, DecisionID: req.Path},
	})
}

func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestRoundTrip(t *testing.T) {
	client := extauthztest.NewCertificate(t, "envoy")
	own := extauthztest.NewCertificate(t, "holdfast")
	trusted := x509.NewCertPool()
	trusted.AddCert(client.Cert)
	mutual := &tls.Config{Certificates: []tls.Certificate{own.TLS}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusted, MinVersion: tls.VersionTLS13}
	as := func(certs ...tls.Certificate) grpc.DialOption {
		return grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
			Certificates: certs, InsecureSkipVerify: true,
			VerifyConnection: func(state tls.ConnectionState) error {
				if !state.PeerCertificates[0].Equal(own.Cert) {
					return errors.New("another server")
				}
				return nil
			},
		}))
	}
	for _, tt := range []struct {
		name, address string
		tls           *tls.Config
		opts          []grpc.DialOption
		code          codes.Code
	}{
		{"tcp", loopback, nil, nil, codes.OK},
		{"unix", "unix://" + filepath.Join(t.TempDir(), "s"), nil, nil, codes.OK},
		{"mutual TLS", loopback, mutual, []grpc.DialOption{as(client.TLS)}, codes.OK},
		{"mutual TLS without a certificate", loopback, mutual, []grpc.DialOption{as()}, codes.Unavailable},
		{"plain text to TLS", loopback, mutual, nil, codes.Unavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var seen []byte
			_, envoy := started(t, tt.address, server.Config{TLS: tt.tls, Check: func(dst, msg []byte) []byte {
				seen = bytes.Clone(msg)
				return allowAll(dst, msg)
			}}, tt.opts...)
			request := extauthztest.Request{Path: "/orders/1"}.Proto()
			a, err := envoy.CheckProto(short(t), request)
			if status.Code(err) != tt.code {
				t.Fatalf("error %v, want %v", err, tt.code)
			}
			if tt.code != codes.OK {
				return
			}
			if a.Verdict != extauthztest.VerdictOK || a.Metadata["decision_id"] != "/orders/1" {
				t.Errorf("answer %v", a)
			}
			got := request.ProtoReflect().New().Interface()
			if err := proto.Unmarshal(seen, got); err != nil || !proto.Equal(got, request) {
				t.Errorf("the handler has seen another message: %v %v", err, got)
			}
		})
	}
}

// TestFaults: a fault ends in an OK RPC with an error_response, and the next
// check is answered as ever.
func TestFaults(t *testing.T) {
	say := func(text string) func(any, []byte) []byte {
		return func(value any, stack []byte) []byte {
			if !strings.Contains(string(stack), "TestFaults") {
				t.Errorf("the stack does not show the panic:\n%s", stack)
			}
			return wire.AppendResponse(nil, &extauthz.Response{Verdict: reason.Unable, Body: fmt.Sprint(text, value)})
		}
	}
	boom := func([]byte, []byte) []byte { panic("boom") }
	for _, tt := range []struct {
		name    string
		check   server.Handler
		onPanic func(any, []byte) []byte
		body    string
		panics  uint64
	}{
		{"panic", boom, say("said: "), "said: boom", 1},
		{"panic with nil", func([]byte, []byte) []byte { panic(nil) }, say("said: "), "said: panic called with nil argument", 1},
		{"nil map", func([]byte, []byte) []byte { var m map[string]int; m["x"] = 1; return nil }, say(""), "assignment to entry in nil map", 1},
		{"nobody to ask", boom, nil, `{"error":"unavailable","decision_id":""}`, 1},
		{"both panic", boom, func(any, []byte) []byte { panic("again") }, `{"error":"unavailable","decision_id":""}`, 2},
		{"nothing to say", boom, func(any, []byte) []byte { return nil }, `{"error":"unavailable","decision_id":""}`, 1},
		{"no answer", func([]byte, []byte) []byte { return nil }, nil, `{"error":"unavailable","decision_id":""}`, 0},
		{"an empty answer", func(dst, _ []byte) []byte { return dst }, nil, `{"error":"unavailable","decision_id":""}`, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, envoy := started(t, loopback, server.Config{OnPanic: tt.onPanic, Check: func(dst, msg []byte) []byte {
				if bytes.Contains(msg, []byte("/fault")) {
					return tt.check(append(dst, "half an answer"...)[:0], msg)
				}
				return allowAll(dst, msg)
			}})
			for range 3 {
				a, err := envoy.Check(short(t), extauthztest.Request{Path: "/fault"})
				if err != nil {
					t.Fatal(err)
				}
				if a.Verdict != extauthztest.VerdictError || a.Status != 503 || a.Code == 0 || a.Body != tt.body {
					t.Errorf("answer %v", a)
				}
				if a, err = envoy.Check(short(t), extauthztest.Request{Path: "/ok"}); err != nil || a.Verdict != extauthztest.VerdictOK {
					t.Errorf("the check after it: %v %v", a, err)
				}
			}
			if n := s.Stats().Panics; n != 3*tt.panics {
				t.Errorf("%d panics are counted, want %d", n, 3*tt.panics)
			}
		})
	}
}

// TestLastResort: the answer that needs nobody has all that an answer has.
func TestLastResort(t *testing.T) {
	_, envoy := started(t, loopback, server.Config{Check: func([]byte, []byte) []byte { panic("boom") }})
	a, err := envoy.Check(short(t), extauthztest.Request{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"decision": "error", "reason": "internal", "enforced": true, "decision_id": "", "class": "", "route": ""}
	if diff := cmp.Diff(want, a.Metadata); diff != "" {
		t.Error(diff)
	}
	if a.Header("retry-after") == "" || a.Header("cache-control") != "no-store" || a.Header("content-type") != "application/json" {
		t.Errorf("headers %v", a.Set)
	}
}

func TestOverloaded(t *testing.T) {
	full := wire.AppendResponse(nil, &extauthz.Response{Verdict: reason.Unable, Body: "full"})
	for _, tt := range []struct {
		name       string
		overloaded func() []byte
		body       string
		reason     string
	}{
		{"its own answer", func() []byte { return full }, "full", "internal"},
		{"without one", nil, `{"error":"unavailable","decision_id":""}`, "overloaded"},
		{"a panic", func() []byte { panic("boom") }, `{"error":"unavailable","decision_id":""}`, "internal"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			entered, leave := make(chan struct{}), make(chan struct{})
			s, envoy := started(t, loopback, server.Config{MaxInFlight: 2, Overloaded: tt.overloaded, Check: func(dst, msg []byte) []byte {
				entered <- struct{}{}
				<-leave
				return allowAll(dst, msg)
			}})
			answers := make(chan *extauthztest.Answer, 2)
			for range 2 {
				go func() {
					a, err := envoy.Check(short(t), extauthztest.Request{})
					if err != nil {
						t.Error(err)
					}
					answers <- a
				}()
				<-entered
			}
			a, err := envoy.Check(short(t), extauthztest.Request{})
			if err != nil {
				t.Fatal(err)
			}
			if a.Verdict != extauthztest.VerdictError || a.Status != 503 || a.Body != tt.body || a.Reason() != tt.reason {
				t.Errorf("over the limit: %v", a)
			}
			if st := s.Stats(); st.InFlight != 2 || st.Overloaded != 1 {
				t.Errorf("stats %+v", st)
			}
			close(leave)
			for range 2 {
				if a := <-answers; a.Verdict != extauthztest.VerdictOK {
					t.Errorf("within the limit: %v", a)
				}
			}
			go func() { <-entered }()
			if a, err := envoy.Check(short(t), extauthztest.Request{}); err != nil || a.Verdict != extauthztest.VerdictOK {
				t.Errorf("after the rush: %v %v", a, err)
			}
		})
	}
}

// plain is a codec that sends and takes bytes as they are.
type plain struct{}

func (plain) Name() string { return "proto" }

func (plain) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (plain) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

const checkMethod = "/envoy.service.auth.v3.Authorization/Check"

// TestBadMessages: what a proxy would have to do wrong to see a gRPC error,
// and that nothing of it is an allow. The handler lets every CheckRequest
// through.
func TestBadMessages(t *testing.T) {
	padded := func(n int) []byte {
		msg, err := proto.Marshal(extauthztest.Request{Headers: [][2]string{{"x-pad", strings.Repeat("x", n)}}}.Proto())
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	asked := atomic.Int64{}
	_, envoy := started(t, loopback, server.Config{Check: func(dst, msg []byte) []byte {
		asked.Add(1)
		return allowAll(dst, msg)
	}})
	for _, tt := range []struct {
		name, method string
		msg          []byte
		code         codes.Code
		verdict      string
		asks         bool
	}{
		{"largest request", checkMethod, padded(wire.MaxMessage - 1000), codes.OK, extauthztest.VerdictOK, true},
		{"over the largest request", checkMethod, padded(wire.MaxMessage), codes.OK, extauthztest.VerdictDenied, true},
		{"near the largest frame", checkMethod, padded(1<<20 - 1000), codes.OK, extauthztest.VerdictDenied, true},
		{"over the largest frame", checkMethod, padded(1 << 20), codes.ResourceExhausted, "", false},
		{"8 MiB", checkMethod, padded(8 << 20), codes.ResourceExhausted, "", false},
		{"no CheckRequest", checkMethod, []byte("GET / HTTP/1.1\r\n"), codes.OK, extauthztest.VerdictDenied, true},
		{"half a CheckRequest", checkMethod, padded(100)[:60], codes.OK, extauthztest.VerdictDenied, true},
		{"ext_authz v2", "/envoy.service.auth.v2.Authorization/Check", padded(0), codes.Unimplemented, "", false},
		{"another method", "/envoy.service.auth.v3.Authorization/check", padded(0), codes.Unimplemented, "", false},
		{"ext_proc", "/envoy.service.ext_proc.v3.ExternalProcessor/Process", padded(0), codes.Unimplemented, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := asked.Load()
			var answer []byte
			err := envoy.Conn().Invoke(short(t), tt.method, tt.msg, &answer, grpc.ForceCodecV2(plain{}), grpc.MaxCallSendMsgSize(16<<20))
			if status.Code(err) != tt.code {
				t.Fatalf("error %v, want %v", err, tt.code)
			}
			if asks := asked.Load() > before; asks != tt.asks {
				t.Errorf("the handler was asked: %v, want %v", asks, tt.asks)
			}
			if err == nil {
				if a := readAnswer(t, answer); a.Verdict != tt.verdict {
					t.Errorf("answer %v, want %s", a, tt.verdict)
				}
			}
			if a, err := envoy.Check(short(t), extauthztest.Request{}); err != nil || a.Verdict != extauthztest.VerdictOK {
				t.Errorf("the check after it: %v %v", a, err)
			}
		})
	}
}

func readAnswer(t *testing.T, msg []byte) *extauthztest.Answer {
	t.Helper()
	var response authv3.CheckResponse
	if err := proto.Unmarshal(msg, &response); err != nil {
		t.Fatal(err)
	}
	return extauthztest.ReadAnswer(&response)
}

// TestStreamOfMessages: Check takes exactly one message.
func TestStreamOfMessages(t *testing.T) {
	_, envoy := started(t, loopback, server.Config{Check: allowAll})
	msg, err := proto.Marshal(extauthztest.Request{}.Proto())
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range []codes.Code{codes.Internal, codes.OK, codes.Internal, codes.Internal} {
		stream, err := envoy.Conn().NewStream(short(t), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, checkMethod, grpc.ForceCodecV2(plain{}))
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			if err := stream.SendMsg(msg); err != nil {
				break // the server has ended the stream: RecvMsg says how
			}
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		var answer []byte
		if err := stream.RecvMsg(&answer); status.Code(err) != want {
			t.Errorf("%d messages: %v, want %v", n, err, want)
		}
	}
}

// TestNoBufferIsSharedByTwoChecks: 10 000 checks of very different sizes from
// 50 goroutines; each answer holds a digest of its own request.
func TestNoBufferIsSharedByTwoChecks(t *testing.T) {
	const goroutines, each = 50, 200
	seed := maphash.MakeSeed()
	sum := func(b []byte) uint64 { return maphash.Bytes(seed, b) }
	check := func(dst, msg []byte) []byte {
		before := sum(msg)
		runtime.Gosched()
		// As long as the request: answers of all sizes, past the pool's limits.
		out := wire.AppendResponse(dst, &extauthz.Response{
			Verdict: reason.Unable, Body: strings.Repeat(string(rune('a'+before%26)), len(msg)),
			Metadata: extauthz.Metadata{DecisionID: strconv.FormatUint(before, 36)},
		})
		runtime.Gosched()
		if after := sum(msg); after != before {
			t.Errorf("the message has changed under the check: %x, was %x", after, before)
		}
		return out
	}
	s, first := started(t, loopback, server.Config{Check: check})
	_, second := started(t, "unix://"+filepath.Join(t.TempDir(), "s"), server.Config{Check: check})
	envoys := []*extauthztest.Envoy{first, second}
	pads := strings.Repeat("0123456789abcdef", 16<<10)
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(g), 1))
			for i := range each {
				size := 1 << random.IntN(13)
				if i%100 == 0 {
					size = 90 << 10 // several frames
				}
				msg, err := proto.Marshal(extauthztest.Request{
					Path: fmt.Sprintf("/%d/%d", g, i), Headers: [][2]string{{"x-pad", pads[:size+random.IntN(size)]}},
				}.Proto())
				if err != nil {
					t.Error(err)
					return
				}
				var answer []byte
				err = envoys[g%2].Conn().Invoke(short(t), checkMethod, msg, &answer, grpc.ForceCodecV2(plain{}))
				if err != nil {
					t.Errorf("check %d of %d: %v", i, g, err)
					return
				}
				want := sum(msg)
				a := readAnswer(t, answer)
				if a.Metadata["decision_id"] != strconv.FormatUint(want, 36) || a.Body != strings.Repeat(string(rune('a'+want%26)), len(msg)) {
					t.Errorf("check %d of %d has the answer of another: %.200v", i, g, a)
					return
				}
			}
		})
	}
	all.Wait()
	if n := s.Stats(); n.InFlight != 0 || n.Checks != goroutines*each/2 {
		t.Errorf("stats %+v", n)
	}
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]server.Config{
		"no handler":         {},
		"negative in flight": {Check: allowAll, MaxInFlight: -1},
	} {
		if _, err := server.New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
