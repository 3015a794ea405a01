package feed

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func proofs(t testing.TB, b Broker, claims int) *Proofs {
	t.Helper()
	p, err := NewProofs(ProofsConfig{Broker: b, Key: testKey, Window: time.Minute + 5*time.Second, Claims: claims, Seen: func([16]byte, time.Time) {}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func claim(t testing.TB, p *Proofs, key [16]byte) bool {
	t.Helper()
	first, err := p.Claim(t.Context(), key, soon())
	if err != nil {
		t.Fatal(err)
	}
	return first
}

// connects waits for the first connection.
func connects(t testing.TB, c *Cluster) *Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := c.await(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

// Of a hundred claims of one proof at three replicas, exactly one is first.
func TestClaimOnce(t *testing.T) {
	e := listen(t, t.TempDir(), anyPort, nil)
	cfg := ClusterConfig{URLs: []string{urlOf(e.Addr())}}
	all := []*Proofs{proofs(t, e, 0), proofs(t, connects(t, join(t, cfg)), 0), proofs(t, connects(t, join(t, cfg)), 0)}
	for range 20 {
		key := newProof()
		var firsts atomic.Int32
		var w sync.WaitGroup
		for i := range 100 {
			w.Go(func() {
				first, err := all[i%len(all)].Claim(t.Context(), key, soon())
				if err != nil {
					t.Error(err)
				}
				if first {
					firsts.Add(1)
				}
			})
		}
		w.Wait()
		if n := firsts.Load(); n != 1 {
			t.Fatalf("%d claims of one proof were first", n)
		}
	}
	if s := all[1].Stats(); s.Claims != 660 || s.Errors != 0 {
		t.Errorf("%+v", s)
	}
}

// A full stream refuses, and forgets nothing to make room.
func TestClaimsFull(t *testing.T) {
	const room = 8
	p := proofs(t, openEmbedded(t, t.TempDir()), room)
	keys := make([][16]byte, room)
	for i := range keys {
		keys[i] = newProof()
		if !claim(t, p, keys[i]) {
			t.Fatalf("claim %d is not the first", i)
		}
	}
	for range 20 {
		if first, err := p.Claim(t.Context(), newProof(), soon()); first || !errors.Is(err, ErrFull) {
			t.Fatalf("a claim too many: %v, %v", first, err)
		}
		for i := range keys {
			if claim(t, p, keys[i]) {
				t.Fatalf("claim %d was forgotten", i)
			}
		}
	}
	if s := p.Stats(); s.Errors != 20 {
		t.Errorf("%+v", s)
	}
}

// A claim is forgotten when its proof can not be used any more, not before.
func TestClaimEnds(t *testing.T) {
	const window = 300 * time.Millisecond
	e := openEmbedded(t, t.TempDir())
	p, err := NewProofs(ProofsConfig{Broker: e, Key: testKey, Window: window, Claims: 1, Seen: func([16]byte, time.Time) {}})
	if err != nil {
		t.Fatal(err)
	}
	p.margin = 0
	key, began := newProof(), time.Now()
	if first, err := p.Claim(t.Context(), key, began.Add(window)); !first || err != nil {
		t.Fatal(first, err)
	}
	until(t, "forgotten", func() bool {
		first, err := p.Claim(t.Context(), newProof(), time.Now().Add(window))
		if took := time.Since(began); first && took < window {
			t.Fatalf("forgotten after %v", took)
		}
		return first && err == nil
	})
	for _, rest := range []time.Duration{-time.Second, 0, window + time.Second, 1000 * time.Hour} {
		if first, err := p.Claim(t.Context(), newProof(), time.Now().Add(rest)); first || err == nil {
			t.Errorf("claimed for %v: %v, %v", rest, first, err)
		}
	}
}

// What was claimed stays claimed when the server starts anew, by itself or
// with its process, and nothing is first while there is none.
func TestClaimsOutliveTheServer(t *testing.T) {
	dir := t.TempDir()
	var keys [][16]byte
	var address string
	for life := range 3 {
		if life == 0 {
			address = anyPort
		}
		e := listen(t, dir, address, nil)
		address = e.Addr().String()
		local, remote := proofs(t, e, 0), proofs(t, connects(t, join(t, ClusterConfig{URLs: []string{"nats://" + address}})), 0)
		for _, key := range keys {
			if claim(t, local, key) || claim(t, remote, key) {
				t.Fatal("a claim was forgotten over a restart")
			}
		}
		for range 50 {
			key := newProof()
			keys = append(keys, key)
			if !claim(t, remote, key) {
				t.Fatal("not first")
			}
		}
		old := e.broker
		old.server.Shutdown()
		old.server.WaitForShutdown()
		if first, err := remote.Claim(t.Context(), keys[0], soon()); first || err == nil {
			t.Errorf("claimed without a server: %v, %v", first, err)
		}
		_ = e.examine(old)
		for _, p := range []*Proofs{local, remote} {
			until(t, "claims again", func() bool {
				first, err := p.Claim(t.Context(), keys[0], soon())
				if first {
					t.Fatal("a claim was forgotten over a restart")
				}
				return err == nil
			})
		}
		for _, key := range keys {
			if claim(t, local, key) {
				t.Fatal("a claim was forgotten over a restart")
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Claims whose patience ends at any moment: whatever is not known to be first
// is never first for two.
func TestClaimCancelled(t *testing.T) {
	e := listen(t, t.TempDir(), anyPort, nil)
	a, b := proofs(t, e, 0), proofs(t, connects(t, join(t, ClusterConfig{URLs: []string{urlOf(e.Addr())}})), 0)
	claim(t, a, newProof())
	claim(t, b, newProof())
	var firsts, errs int
	for i := range 300 {
		key := newProof()
		n := 0
		for range 3 {
			for _, p := range []*Proofs{a, b} {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*5*time.Microsecond)
				first, err := p.Claim(ctx, key, soon())
				cancel()
				if first {
					n++
				}
				if err != nil {
					errs++
				}
			}
		}
		if n > 1 {
			t.Fatalf("%d claims of one proof were first", n)
		}
		firsts += n
	}
	if firsts == 0 || errs == 0 {
		t.Errorf("%d first, %d errors: this tested nothing", firsts, errs)
	}
}

// Two feeds in one broker do not see each other's claims; neither does a broker's
// user learn a key.
func TestClaimNames(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	a := proofs(t, e, 0)
	b, err := NewProofs(ProofsConfig{Broker: e, Key: []byte(strings.Repeat("x", KeySize)), Window: time.Minute + 5*time.Second, Seen: func([16]byte, time.Time) {}})
	if err != nil {
		t.Fatal(err)
	}
	key := newProof()
	if !claim(t, a, key) || !claim(t, b, key) || claim(t, a, key) || claim(t, b, key) {
		t.Error("one feed's claims count for another's")
	}
}

// The stream grows with the longest window of all replicas, and one under
// which a proof could be used twice is not used.
func TestClaimsConfiguration(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	js, name := e.broker.js, streamName.claims()
	config := func() jetstream.StreamConfig {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo().Config
	}
	with := func(window time.Duration, claims int) error {
		p, err := NewProofs(ProofsConfig{Broker: e, Key: testKey, Window: window, Claims: claims, Seen: func([16]byte, time.Time) {}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Claim(t.Context(), newProof(), time.Now().Add(window/2))
		return err
	}
	for _, step := range []struct {
		window, maxAge time.Duration
		claims, max    int
	}{{time.Minute, 70 * time.Second, 100, 100}, {time.Second, 70 * time.Second, 200, 200}, {2 * time.Minute, 130 * time.Second, 50, 200}} {
		if err := with(step.window, step.claims); err != nil {
			t.Fatal(err)
		}
		if c := config(); c.MaxAge != step.maxAge || c.MaxMsgs != int64(step.max) {
			t.Errorf("%+v: %v, %d", step, c.MaxAge, c.MaxMsgs)
		}
	}
	for want, edit := range map[string]func(c *jetstream.StreamConfig){
		"discard is DiscardOld":            func(c *jetstream.StreamConfig) { c.Discard, c.DiscardNewPerSubject = jetstream.DiscardOld, false },
		"discard_new_per_subject is false": func(c *jetstream.StreamConfig) { c.DiscardNewPerSubject = false },
		"max_msgs_per_subject is 2":        func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 2 },
		"storage is Memory": func(c *jetstream.StreamConfig) {
			c.Storage, c.PersistMode = jetstream.MemoryStorage, jetstream.DefaultPersistMode
		},
		"deny_delete is false": func(c *jetstream.StreamConfig) { c.DenyDelete = false },
		"max_bytes is 100":     func(c *jetstream.StreamConfig) { c.MaxBytes = 100 },
		"max_msgs is -1":       func(c *jetstream.StreamConfig) { c.MaxMsgs = -1 },
	} {
		c := config()
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		edit(&c)
		if _, err := js.CreateStream(t.Context(), c); err != nil {
			t.Fatal(want, err)
		}
		if err := with(time.Minute, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if err := with(time.Minute, 0); err != nil {
			t.Fatal(err)
		}
	}

	// A stream that vanished took the used proofs along: nobody makes a new one
	// behind the back of those who used it.
	p := proofs(t, e, 0)
	claim(t, p, newProof())
	if err := js.DeleteStream(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if first, err := p.Claim(t.Context(), newProof(), soon()); first || err == nil {
		t.Errorf("claimed in no stream: %v, %v", first, err)
	}
}

// BenchmarkClaim is one synchronous claim after the other, by the owner of the
// server and by one who joined.
func BenchmarkClaim(b *testing.B) {
	e := listen(b, b.TempDir(), anyPort, nil)
	c := connects(b, join(b, ClusterConfig{URLs: []string{urlOf(e.Addr())}}))
	for name, broker := range map[string]Broker{"own": e, "joined": c} {
		b.Run(name, func(b *testing.B) {
			p := proofs(b, broker, 0)
			claim(b, p, newProof())
			took := make([]time.Duration, 0, b.N)
			for range b.N {
				began := time.Now()
				if !claim(b, p, newProof()) {
					b.Fatal("not first")
				}
				took = append(took, time.Since(began))
			}
			report(b, took)
		})
	}
}

// A proof that could be used for longer than it is remembered is never first,
// and neither is one that has ended.
func TestClaimWindow(t *testing.T) {
	e := listen(t, t.TempDir(), anyPort, nil)
	p := proofs(t, e, 0)
	for name, until := range map[string]time.Time{
		"beyond the window": time.Now().Add(p.cfg.Window + time.Minute),
		"ended":             time.Now().Add(-time.Second),
		"no time at all":    {},
	} {
		if first, err := p.Claim(t.Context(), newProof(), until); first || err == nil {
			t.Errorf("%s: %v, %v", name, first, err)
		}
	}
	if !claim(t, p, newProof()) {
		t.Error("one within the window is not first")
	}
}

// The stream of claims is gone: what it remembered may be used again, so that
// nobody who has seen it makes a new one, and no proof is taken.
func TestClaimsStreamVanishes(t *testing.T) {
	e := listen(t, t.TempDir(), anyPort, nil)
	p, key := proofs(t, e, 0), newProof()
	if !claim(t, p, key) {
		t.Fatal("not first")
	}
	l, err := e.link(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(l.conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), l.streams.claims()); err != nil {
		t.Fatal(err)
	}
	p.open.Store(nil) // as on another connection
	for range 3 {
		if first, err := p.Claim(t.Context(), key, soon()); first || err == nil {
			t.Fatalf("claimed in a stream that is not there: %v, %v", first, err)
		}
	}
}
