package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-authz/holdfast/cache"
)

// member is a replica's Presence that runs.
type member struct {
	*Presence
	applied  atomic.Uint64
	evidence *cache.Evidence
	stop     func()
}

func attend(t testing.TB, b Broker, host string) *member {
	t.Helper()
	m := &member{evidence: cache.NewEvidence()}
	p, err := NewPresence(PresenceConfig{
		Broker: b, Key: testKey, Applied: m.applied.Load, Ready: func() bool { return true }, Evidence: m.evidence, Host: host, Version: "v1",
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Presence = p
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, ErrClosed) {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(m.stop)
	return m
}

// apply does what a process does with a record that has events.
func (m *member) apply(number uint64) {
	m.applied.Store(number)
	m.Advance()
}

func (m *member) deny(ref cache.Ref, at time.Time) {
	hit := cache.Hit{Ref: ref, Until: 4_000_000_000}
	m.evidence.Add(hit, at)
	m.Denied(hit)
}

func (m *member) hosts() (hosts []string) {
	for _, r := range m.Replicas() {
		hosts = append(hosts, r.Host)
	}
	return hosts
}

// three replicas on one broker, that know each other.
func three(t testing.TB) (all []*member) {
	t.Helper()
	e := listen(t, t.TempDir(), anyPort, nil)
	cfg := ClusterConfig{URLs: []string{urlOf(e.Addr())}}
	all = []*member{attend(t, e, "a"), attend(t, join(t, cfg), "b"), attend(t, join(t, cfg), "c")}
	for _, m := range all {
		until(t, "three replicas", func() bool { return len(m.Replicas()) == 3 })
	}
	return all
}

func within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// TestPresence: each knows the others, who is behind is known by name, and a
// wait ends when the last one has applied the record, or has gone.
func TestPresence(t *testing.T) {
	all := three(t)
	if diff := cmp.Diff([]string{"b", "a", "c"}, all[1].hosts()); diff != "" {
		t.Error(diff)
	}
	for _, r := range all[0].Replicas() {
		if r.Version != "v1" || !r.Ready || r.Self != (r.Host == "a") || time.Since(r.Heard) > heardLimit || len(r.ID) != 32 {
			t.Errorf("%+v", r)
		}
	}
	all[0].apply(7)
	all[1].apply(7)
	short, cancel := within(300 * time.Millisecond)
	defer cancel()
	got, err := all[0].Reached(short, 7)
	if err != nil || len(got) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	behind := slices.DeleteFunc(got, func(r Replica) bool { return r.Applied >= 7 })
	if len(behind) != 1 || behind[0].Host != "c" || behind[0].Name() != "c/"+behind[0].ID[:8] {
		t.Errorf("behind: %+v", behind)
	}

	reached := make(chan []Replica, 2)
	await := func(number uint64) {
		long, cancel := within(30 * time.Second)
		defer cancel()
		got, err := all[0].Reached(long, number)
		if err != nil {
			t.Error(err)
		}
		reached <- got
	}
	go await(7)
	all[2].apply(7)
	if got := <-reached; len(got) != 3 || slices.ContainsFunc(got, func(r Replica) bool { return r.Applied != 7 }) {
		t.Errorf("%+v", got)
	}
	all[0].apply(8)
	all[2].apply(8)
	began := time.Now()
	go await(8)
	all[1].stop() // says goodbye: nobody waits for it
	if got := <-reached; len(got) != 2 || time.Since(began) > heardLimit/2 {
		t.Errorf("after %v: %+v", time.Since(began), got)
	}
	until(t, "the goodbye at c", func() bool { return cmp.Equal(all[2].hosts(), []string{"c", "a"}) })
}

// TestPresenceAlone: without a listener nobody else can be there.
func TestPresenceAlone(t *testing.T) {
	m := attend(t, openEmbedded(t, t.TempDir()), "a")
	m.apply(3)
	got, err := m.Reached(t.Context(), 3)
	if err != nil || len(got) != 1 || !got[0].Self {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestPresenceUnheard: whoever can not hear the others does not say that all
// have applied a record.
func TestPresenceUnheard(t *testing.T) {
	e := listen(t, t.TempDir(), anyPort, nil)
	c := join(t, ClusterConfig{URLs: []string{urlOf(e.Addr())}})
	m := attend(t, c, "a")
	m.apply(3)
	if _, err := m.Reached(t.Context(), 3); err != nil {
		t.Error(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "the loss of the connection", func() bool { return !m.Stats().Listening })
	short, cancel := within(20 * time.Millisecond)
	defer cancel()
	if got, err := m.Reached(short, 3); !errors.Is(err, ErrUnheard) || len(got) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestPresenceEcho: a connection that seems to be well, and brings not even our
// own notices back, is not believed.
func TestPresenceEcho(t *testing.T) {
	e := listen(t, t.TempDir(), anyPort, nil)
	way := between(t, e.Addr())
	m := attend(t, join(t, ClusterConfig{URLs: []string{urlOf(way.Addr())}}), "a")
	m.apply(3)
	if _, err := m.Reached(t.Context(), 3); err != nil {
		t.Error(err)
	}
	way.mute.Store(true)
	until(t, "doubt", func() bool {
		short, cancel := within(time.Millisecond)
		defer cancel()
		_, err := m.Reached(short, 3)
		return errors.Is(err, ErrUnheard)
	})
	way.mute.Store(false)
	long, cancel := within(30 * time.Second)
	defer cancel()
	if _, err := m.Reached(long, 3); err != nil {
		t.Error(err)
	}
}

// TestPresenceRefuses: what was not made with the key, was altered or is old
// changes nothing.
func TestPresenceRefuses(t *testing.T) {
	e := listen(t, t.TempDir(), anyPort, nil)
	m := attend(t, e, "a")
	until(t, "listening", func() bool { return m.Stats().Listening })
	other := [senderSize]byte{9}
	send := func(b []byte) {
		t.Helper()
		if err := e.broker.conn.Publish(streamName.replicas(), b); err != nil {
			t.Fatal(err)
		}
	}
	say := func(number, applied uint64, flags byte) []byte {
		return sealNotice(noticeKey, &notice{sender: other, number: number, applied: applied, flags: flags, host: "b"})
	}
	forged := sealNotice(derive(testKey, spreadLabel), &notice{sender: other, number: 1, applied: 100})
	altered := say(1, 50, 0)
	altered[20] ^= 1
	for _, b := range [][]byte{nil, []byte("hello"), forged, altered, make([]byte, 1<<20), say(5, 10, flagReady), say(4, 99, 0), say(5, 98, 0), say(6, 4, 0)} {
		send(b)
	}
	find := func() (h heard) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if at := m.others[other]; at != nil {
			h = *at
		}
		return h
	}
	until(t, "the last of them", func() bool { return find().number == 6 })
	if h := find(); h.Applied != 10 || h.Host != "b" || m.Stats() != (PresenceStats{Listening: true, Refused: 5}) {
		t.Errorf("%+v, %+v", h, m.Stats())
	}
	send(say(7, 11, flagGoodbye))
	send(say(6, 12, flagReady)) // does not revive it
	until(t, "the goodbye", func() bool { return find().number == 7 })
	if got := m.Replicas(); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

// TestPresenceBounds: the table of others has an end, and room is made by
// those that are gone.
func TestPresenceBounds(t *testing.T) {
	p, err := NewPresence(PresenceConfig{
		Broker: openEmbedded(t, t.TempDir()), Key: testKey, Applied: func() uint64 { return 0 }, Ready: func() bool { return true }, Evidence: cache.NewEvidence(),
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	enter := func(i int, at time.Time) bool {
		n := &notice{number: 1, sender: [senderSize]byte{byte(i), byte(i >> 8), 1}}
		news, _ := p.hear(n, at)
		return news
	}
	for i := range maxReplicas {
		if !enter(i, now) {
			t.Fatal(i)
		}
	}
	if enter(maxReplicas, now) || len(p.others) != maxReplicas {
		t.Errorf("%d are kept", len(p.others))
	}
	if !enter(maxReplicas, now.Add(heardLimit)) || len(p.others) != 1 {
		t.Errorf("%d are kept after %v", len(p.others), heardLimit)
	}
	if got := p.list(now.Add(2 * heardLimit)); len(got) != 1 {
		t.Errorf("still there: %+v", got)
	}
}

// TestPresenceCounts: denials add up over replicas; one that restarts gets back
// from the others what it had told them.
func TestPresenceCounts(t *testing.T) {
	e := listen(t, t.TempDir(), anyPort, nil)
	cfg := ClusterConfig{URLs: []string{urlOf(e.Addr())}}
	a, b := attend(t, e, "a"), attend(t, join(t, cfg), "b")
	at := time.Unix(1_800_000_000, 0).UTC()
	ref := cache.Ref{Number: 4, Place: 2}
	a.deny(ref, at)
	b.deny(ref, at.Add(time.Minute))
	b.deny(ref, at.Add(-time.Minute).Add(2*time.Minute))
	want := cache.Enforced{Count: 3, First: at, Last: at.Add(time.Minute)}
	sums := func(m *member) func() bool { return func() bool { return cmp.Equal(m.Enforced(ref), want) } }
	until(t, "the sum at a", sums(a))
	until(t, "the sum at b", sums(b))
	// Many at once need several notices.
	const many = 3*maxCounts + 1
	for i := range many {
		b.deny(cache.Ref{Number: 100 + uint64(i)}, at)
	}
	b.stop() // and what it has not told yet it tells now
	until(t, "the last of them at a", func() bool { return a.Enforced(cache.Ref{Number: 100 + many - 1}).Count == 1 })
	for i := range many {
		if got := a.Enforced(cache.Ref{Number: 100 + uint64(i)}); got.Count != 1 {
			t.Fatalf("%d: %+v", i, got)
		}
	}
	b = attend(t, join(t, cfg), "b")
	until(t, "the sum at b after its restart", sums(b))
	until(t, "and all of the others", func() bool {
		for i := range many {
			if b.Enforced(cache.Ref{Number: 100 + uint64(i)}).Count != 1 {
				return false
			}
		}
		return true
	})
	b.Expire(time.Unix(4_000_000_001, 0))
	if got := b.Enforced(ref); got.Count != 0 {
		t.Errorf("after its end: %+v", got)
	}
}

// TestAppendUnless: of many who append one thing at once, at two replicas, one
// does.
func TestAppendUnless(t *testing.T) {
	e := listen(t, t.TempDir(), anyPort, nil)
	c := join(t, ClusterConfig{URLs: []string{urlOf(e.Addr())}})
	all := []*replica{start(t, Config{Log: e}).synced(t), start(t, Config{Log: c}).synced(t)}
	for round := range 10 {
		sid := fmt.Sprint("s", round)
		var stored, forestalled atomic.Int64
		var w sync.WaitGroup
		for i := range 8 {
			w.Go(func() {
				r := all[i%2]
				_, _, err := r.AppendUnless(t.Context(), func() bool { return r.has(sid) }, revoke(sid))
				switch {
				case err == nil:
					stored.Add(1)
				case errors.Is(err, ErrForestalled):
					forestalled.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		w.Wait()
		if stored.Load() != 1 || forestalled.Load() != 7 {
			t.Errorf("%s: stored %d times, forestalled %d times", sid, stored.Load(), forestalled.Load())
		}
	}
}

// BenchmarkPropagation is one revocation after the other: from the moment in
// which it is asked for until another replica has applied it, and from its
// acknowledgement until the first knows that.
func BenchmarkPropagation(b *testing.B) {
	dir := b.TempDir()
	e := listen(b, dir, anyPort, nil)
	c := join(b, ClusterConfig{URLs: []string{urlOf(e.Addr())}})
	here := start(b, Config{Log: e, Head: openHead(b, dir)}).synced(b)
	there := start(b, Config{Log: c, Head: openHead(b, b.TempDir())}).synced(b)
	asker, teller := attend(b, e, "a"), attend(b, c, "b")
	until(b, "two replicas", func() bool { return len(asker.Replicas()) == 2 && len(teller.Replicas()) == 2 })
	var applied, known []time.Duration
	b.ResetTimer()
	for i := range b.N {
		began := time.Now()
		done := make(chan time.Time, 1)
		sid := fmt.Sprint("s", i)
		go func() {
			_ = there.wait(context.Background(), func() bool { return there.has(sid) })
			done <- time.Now()
			teller.apply(there.Status().Number)
		}()
		number := here.revoke(b, sid)
		acked := time.Now()
		asker.apply(number)
		if _, err := asker.Reached(context.Background(), number); err != nil {
			b.Fatal(err)
		}
		known = append(known, time.Since(acked))
		applied = append(applied, (<-done).Sub(began))
	}
	b.StopTimer()
	for name, took := range map[string][]time.Duration{"applied": applied, "known": known} {
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), name+"-p50-µs")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), name+"-p99-µs")
	}
}
