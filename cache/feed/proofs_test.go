package feed

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// teller is a replica's Proofs that runs, and what it heard.
type teller struct {
	*Proofs
	heard chan [16]byte
	stop  func()
}

func tell(t testing.TB, cfg ProofsConfig) *teller {
	t.Helper()
	p := &teller{heard: make(chan [16]byte, 100_000)}
	if cfg.Key == nil {
		cfg.Key = testKey
	}
	cfg.Seen = func(key [16]byte, until time.Time) {
		if rest := time.Until(until); rest <= 0 || rest > maxAhead+2*time.Second {
			t.Errorf("heard of a proof with another %v", rest)
		}
		p.heard <- key
	}
	made, err := NewProofs(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.Proofs = made
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, ErrClosed) {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(p.stop)
	return p
}

// until waits for a state that nothing announces.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not reached", what)
		}
	}
}

func (p *teller) listens(t testing.TB) *teller {
	t.Helper()
	until(t, "listening", func() bool { return p.Stats().Listening })
	return p
}

func (p *teller) hears(t testing.TB, key [16]byte) {
	t.Helper()
	select {
	case got := <-p.heard:
		if got != key {
			t.Errorf("heard of %x, not of %x", got, key)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("did not hear of %x; %+v", key, p.Stats())
	}
}

func newProof() (key [16]byte) {
	rand.Read(key[:])
	return key
}

func soon() time.Time { return time.Now().Add(time.Minute) }

// What one of three replicas spreads, the other two hear, once, and not itself.
func TestSpread(t *testing.T) {
	e := listen(t, t.TempDir(), anyPort, nil)
	cfg := ClusterConfig{URLs: []string{urlOf(e.Addr())}}
	all := []*teller{tell(t, ProofsConfig{Broker: e}), tell(t, ProofsConfig{Broker: join(t, cfg)}), tell(t, ProofsConfig{Broker: join(t, cfg)})}
	for _, p := range all {
		p.listens(t)
	}
	for range 20 {
		for i, p := range all {
			key := newProof()
			p.Spread(key, soon())
			for j, other := range all {
				if j != i {
					other.hears(t, key)
				}
			}
		}
	}
	for i, p := range all {
		until(t, "counted", func() bool { return p.Stats().Spread == 20 })
		if s := p.Stats(); s.Received != 40 || s.Dropped+s.Refused != 0 || len(p.heard) != 0 {
			t.Errorf("replica %d: %+v, %d left", i, s, len(p.heard))
		}
	}
}

// Whatever comes over the subject and was not made by a replica is dropped, and so
// is what would fill the others' memory.
func TestSpreadRefuses(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	p := tell(t, ProofsConfig{Broker: e}).listens(t)
	conn := e.broker.conn
	publish := func(b []byte) {
		t.Helper()
		if err := conn.Publish(streamName.spread(), b); err != nil {
			t.Fatal(err)
		}
	}
	proof := func(key byte, until time.Time) []spent { return []spent{{key: [16]byte{key}, until: until.Unix()}} }
	good := sealBatch(spreadKey, testSender, proof(1, soon()))
	altered := slices.Clone(good)
	altered[batchHead] ^= 1
	publish(nil)
	publish([]byte("hello"))
	publish(altered)
	publish(sealBatch(derive([]byte(strings.Repeat("x", KeySize)), spreadLabel), testSender, proof(2, soon()))) // another feed's
	publish(sealBatch(spreadKey, testSender, someProofs(maxBatch+1)))
	publish(make([]byte, 1<<20))
	publish(sealBatch(spreadKey, testSender, proof(3, time.Now().Add(2*time.Hour)))) // absurd
	const wrong = 7
	publish(sealBatch(spreadKey, testSender, proof(4, time.Now().Add(-time.Minute)))) // over
	publish(sealBatch(spreadKey, p.sender, proof(5, soon())))                         // sent back
	publish(good)
	p.hears(t, [16]byte{1})
	if s := p.Stats(); s.Refused != wrong || s.Dropped != 1 || s.Received != 1 {
		t.Errorf("%+v", s)
	}
	p.Spread([16]byte{9}, time.Now().Add(2*time.Hour))
	p.Spread([16]byte{9}, time.Now().Add(-time.Minute))
	until(t, "dropped", func() bool { return p.Stats().Dropped == 3 })
	if s := p.Stats(); s.Spread != 0 || len(p.heard) != 0 {
		t.Errorf("%+v", s)
	}
}

// A check never waits: without a broker, without Run, with a full queue.
func TestSpreadNeverWaits(t *testing.T) {
	c := join(t, ClusterConfig{URLs: []string{"nats://127.0.0.1:1"}})
	p, err := NewProofs(ProofsConfig{Broker: c, Key: testKey, Seen: func([16]byte, time.Time) {}})
	if err != nil {
		t.Fatal(err)
	}
	for range spreadQueue + 100 {
		p.Spread(newProof(), soon())
	}
	if s := p.Stats(); s.Dropped != 100 {
		t.Errorf("%+v", s)
	}
}

// When the server is started anew, both ways of joining go on.
func TestSpreadAfterRestart(t *testing.T) {
	dir := t.TempDir()
	e := listen(t, dir, anyPort, nil)
	c := join(t, ClusterConfig{URLs: []string{urlOf(e.Addr())}})
	a, b := tell(t, ProofsConfig{Broker: e}).listens(t), tell(t, ProofsConfig{Broker: c}).listens(t)
	for range 3 {
		old := func() *broker { e.mu.Lock(); defer e.mu.Unlock(); return e.broker }()
		old.server.Shutdown()
		old.server.WaitForShutdown()
		if err := e.examine(old); err == nil {
			t.Fatal("a server that was shut down is well")
		}
		until(t, "cut off", func() bool { _, err := c.link(t.Context()); return err != nil })
		b.Spread(newProof(), soon()) // waits for the connection
		until(t, "heard", func() bool {
			b.Spread(newProof(), soon())
			return len(a.heard) > 0
		})
		until(t, "heard", func() bool {
			a.Spread(newProof(), soon())
			return len(b.heard) > 0
		})
		for len(a.heard) > 0 {
			<-a.heard
		}
		for len(b.heard) > 0 {
			<-b.heard
		}
	}
	if s := b.Stats(); s.Dropped != 0 {
		t.Errorf("%+v", s)
	}
}

func TestProofsConfig(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	seen := func([16]byte, time.Time) {}
	for name, cfg := range map[string]ProofsConfig{
		"no broker": {Key: testKey, Seen: seen},
		"no key":    {Broker: e, Seen: seen},
		"no func":   {Broker: e, Key: testKey},
		"window":    {Broker: e, Key: testKey, Seen: seen, Window: 2 * time.Hour},
		"negative":  {Broker: e, Key: testKey, Seen: seen, Window: -1},
		"claims":    {Broker: e, Key: testKey, Seen: seen, Claims: -1},
	} {
		if _, err := NewProofs(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// The end of the broker ends Run.
func TestProofsClosed(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	p, err := NewProofs(ProofsConfig{Broker: e, Key: testKey, Seen: func([16]byte, time.Time) {}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Run(t.Context()) }()
	until(t, "listening", func() bool { return p.Stats().Listening })
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := p.Claim(t.Context(), newProof(), soon()); err == nil {
		t.Error("claimed without a window")
	}
}

// BenchmarkSpread is the way from one replica's check to another's window,
// between two processes' worth of connections.
func BenchmarkSpread(b *testing.B) {
	e := listen(b, b.TempDir(), anyPort, nil)
	one := tell(b, ProofsConfig{Broker: join(b, ClusterConfig{URLs: []string{urlOf(e.Addr())}})}).listens(b)
	other := tell(b, ProofsConfig{Broker: join(b, ClusterConfig{URLs: []string{urlOf(e.Addr())}})}).listens(b)
	took := make([]time.Duration, 0, b.N)
	for range b.N {
		key := newProof()
		began := time.Now()
		one.Spread(key, soon())
		other.hears(b, key)
		took = append(took, time.Since(began))
	}
	report(b, took)
}

// report gives the middle and the end of what calls took.
func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
