package server_test

import (
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/holdfast-authz/holdfast/extauthz"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/server"
	"github.com/holdfast-authz/holdfast/extauthz/wire"
)

// burst is how many checks are in flight on the one connection.
const burst = 32

// flood answers n checks over one connection of a client that allocates
// nothing; what is allocated is the server's.
func flood(tb testing.TB, h *h2, msg []byte, n int) {
	tb.Helper()
	var f frame
	for n > 0 {
		now := min(n, burst)
		for range now {
			h.check(msg)
		}
		if err := h.flush(); err != nil {
			tb.Fatal(err)
		}
		for done := 0; done < now; {
			if err := h.read(&f); err != nil {
				tb.Fatal(err)
			}
			if f.kind == frameReset || f.kind == frameGoAway {
				tb.Fatalf("the server refuses a check: %+v", f)
			}
			if f.ends() {
				done++
			}
		}
		n -= now
	}
}

// lean reads the request and lets it through, without an allocation of its own.
func lean() server.Handler {
	pool := sync.Pool{New: func() any { return new(extauthz.Request) }}
	answer := extauthz.Response{
		Verdict: reason.Allow, SetHeaders: []extauthz.Header{{Name: "x-holdfast-subject", Value: "user-1"}},
		Metadata: extauthz.Metadata{Decision: reason.Allow, Reason: reason.OK, Enforced: true, DecisionID: "0011223344aa-1z", Class: "browser"},
	}
	return func(dst, msg []byte) []byte {
		req := pool.Get().(*extauthz.Request)
		defer pool.Put(req)
		if err := wire.DecodeCheck(msg, req); err != nil {
			panic(err)
		}
		return wire.AppendResponse(dst, &answer)
	}
}

// ours and noop serve on a listener until the test ends.
func ours(tb testing.TB, l net.Listener) {
	s, err := server.New(server.Config{Check: lean()})
	if err != nil {
		tb.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	tb.Cleanup(func() { s.Drain(0); <-ended })
}

func noop(tb testing.TB, l net.Listener) {
	s := extauthztest.NewNoop()
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	tb.Cleanup(func() { s.Stop(); <-ended })
}

func connected(tb testing.TB, run func(testing.TB, net.Listener)) *h2 {
	tb.Helper()
	l, err := server.Listen(loopback)
	if err != nil {
		tb.Fatal(err)
	}
	run(tb, l)
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	return newH2(conn)
}

// BenchmarkCheck: our server with a handler that reads the request and lets it
// through, beside the no-op server of grpc-go with standard protobuf.
func BenchmarkCheck(b *testing.B) {
	for name, run := range map[string]func(testing.TB, net.Listener){"holdfast": ours, "noop": noop} {
		b.Run(name, func(b *testing.B) {
			h, msg := connected(b, run), benched(b)
			flood(b, h, msg, 2000)
			b.ReportAllocs()
			b.ResetTimer()
			flood(b, h, msg, b.N)
		})
	}
}

// maxAllocs is the budget of one check in the whole process (design.md §9),
// grpc-go's own and what sync.Pool drops under the race detector included.
const maxAllocs = 70

// TestAllocs holds the transport to its budget, and well below the no-op
// server, with a handler that allocates nothing itself.
func TestAllocs(t *testing.T) {
	per := func(run func(testing.TB, net.Listener)) float64 {
		h, msg := connected(t, run), benched(t)
		flood(t, h, msg, 1000)
		const n = 5000
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		flood(t, h, msg, n)
		runtime.ReadMemStats(&after)
		return float64(after.Mallocs-before.Mallocs) / n
	}
	got, base := per(ours), per(noop)
	t.Logf("%.1f allocations a check, the no-op server %.1f", got, base)
	if got > maxAllocs || got > 0.7*base {
		t.Errorf("%.1f allocations a check; the budget is %d and 0.7 of the no-op server's %.1f", got, maxAllocs, base)
	}
}
